//! From a template's source to a template that is safe to render.

use std::thread;

use handlebars::Template;

use super::shape::{MAX_DEPTH, bind};
use crate::ItemError;

/// The longest source, in bytes; a request has at most 1 MB.
const MAX_SOURCE: usize = 1024 * 1024;
/// handlebars counts lines from the start of the source at each tag, so that compiling takes as long
/// as tags times bytes: half a second at this product, 400 tags in 1 MB or 4,000 in 100 KB.
const MAX_TAGS_TIMES_BYTES: usize = 400_000_000;
/// Stack for a source that may be deep, per byte of it. The shortest level has four bytes, `(a )`;
/// 600 bytes were enough in a release build, and frames of debug builds are larger.
const STACK_PER_BYTE: usize = if cfg!(debug_assertions) {
    8 * 1024
} else {
    1024
};
const STACK_LEAST: usize = 1024 * 1024;

/// Compiles a source.
///
/// # Errors
/// `template_syntax` with line and column, `too_large`, `template_failed` where the machine has no
/// memory for it.
pub(super) fn compile(field: &'static str, source: &str) -> Result<Template, ItemError> {
    if source.len() > MAX_SOURCE {
        let message = format!("{field} is longer than {MAX_SOURCE} bytes");
        return Err(ItemError::new("too_large", field, message));
    }
    if source.matches("{{").count() * source.len() > MAX_TAGS_TIMES_BYTES {
        let message = format!("{field} has too many tags for its length: use a loop");
        return Err(ItemError::new("too_large", field, message));
    }
    if openings(source) <= MAX_DEPTH {
        return parse(field, source);
    }
    // It may be deeper than our own stack, which shows only once it is parsed; a template that is
    // refused is taken down on the large stack too.
    let failed = || ItemError::new("template_failed", field, "there is no memory to compile it");
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(STACK_LEAST + source.len() * STACK_PER_BYTE)
            .spawn_scoped(scope, || parse(field, source))
            .map_err(|_| failed())?
            .join()
            .unwrap_or_else(|_| Err(failed()))
    })
}

fn parse(field: &'static str, source: &str) -> Result<Template, ItemError> {
    let mut template = Template::compile(source).map_err(|error| {
        let place = error
            .pos()
            .map(|(line, column)| format!(", line {line}, column {column}"))
            .unwrap_or_default();
        syntax(field, format!("{place}: {}", error.reason()))
    })?;
    match bind(&mut template) {
        Ok(()) => Ok(template),
        Err(problem) => Err(syntax(field, format!(": {problem}"))),
    }
}

fn syntax(field: &'static str, rest: String) -> ItemError {
    ItemError::new("template_syntax", field, format!("{field}{rest}"))
}

/// How much may begin a level of its own, counted without parsing; never too few.
fn openings(source: &str) -> usize {
    let begins = |tag: &&str| {
        tag.trim_start_matches(|c: char| c == '~' || c.is_whitespace())
            .starts_with(['#', '>', '*', '^', 'e']) // e as in else
    };
    let tags = source.split("{{").skip(1).filter(begins).count();
    tags + source.matches('(').count()
}
