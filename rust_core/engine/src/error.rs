//! Why one item of a batch failed.

use std::borrow::Cow;
use std::fmt;

/// A parser may quote all of what it could not read.
const LONGEST: usize = 500;

/// What is wrong with an item, in words for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    /// A stable word, such as `missing_variable`.
    pub code: &'static str,
    /// The part of the item that is wrong, such as `subject`; empty where it is all of it.
    pub field: Cow<'static, str>,
    /// A sentence that says what to change.
    pub message: String,
}

impl ItemError {
    pub(crate) fn new(
        code: &'static str,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let mut message = message.into();
        if message.len() > LONGEST {
            message.truncate(message.floor_char_boundary(LONGEST));
            message.push_str(" ...");
        }
        Self {
            code,
            field: field.into(),
            message,
        }
    }
}

impl fmt::Display for ItemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ItemError {}
