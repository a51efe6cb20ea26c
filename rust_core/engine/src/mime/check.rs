//! What no message may hold: the draft is checked before a byte is written.

use std::borrow::Cow;

use super::draft::{Draft, Mailbox};
use crate::ItemError;

/// Headers that sealwax writes itself, or that only a relay may write, in lower case; `content-`
/// stands for all that begin so.
const RESERVED: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "dkim-signature",
    "received",
    "return-path",
    "x-sealwax-id",
    "sender",
    "reply-to",
];
/// Headers with a grammar, in which RFC 2047 section 5 allows no encoded words, beside `list-`.
const STRUCTURED: &[&str] = &[
    "in-reply-to",
    "references",
    "feedback-id",
    "auto-submitted",
    "precedence",
];
/// A boundary has at most 70 characters (RFC 2046 5.1.1), the id and a word of ours among them.
const EMAIL_ID: usize = 50;
/// Fits into a line of 998 characters with a header's name.
const MESSAGE_ID: usize = 900;
/// The end of the year 9999, the last one that RFC 5322 section 3.3 has digits for.
const LAST_DATE_MS: i64 = 253_402_300_799_999;

/// Checks all that goes into a header.
///
/// # Errors
/// `bad_header` or `reserved_header`, with the field.
pub(super) fn check(draft: &Draft) -> Result<(), ItemError> {
    if !(0..=LAST_DATE_MS).contains(&draft.date_ms) {
        return Err(bad("date", "is not between 1970 and 9999"));
    }
    check_id("email_id", &draft.email_id, EMAIL_ID, |b| {
        b.is_ascii_alphanumeric() || b"-_.".contains(&b)
    })?;
    for id in &draft.message_ids {
        check_id("message_id", id, MESSAGE_ID, is_id_byte)?;
    }
    check_mailboxes("from", std::slice::from_ref(&draft.author))?;
    check_mailboxes("to", &draft.to)?;
    check_mailboxes("cc", &draft.cc)?;
    check_mailboxes("reply_to", &draft.reply_to)?;
    check_value("subject", &draft.subject)?;
    for (name, value) in &draft.headers {
        check_name(name)?;
        check_value("headers", value)?;
        check_structured(name, value)?;
    }
    for (i, attachment) in draft.attachments.iter().enumerate() {
        let field = || format!("attachments[{i}]");
        check_value(field(), &attachment.filename)?;
        check_value(field(), &attachment.content_type)?;
        if !attachment.content_id.is_empty() {
            check_id(field(), &attachment.content_id, MESSAGE_ID, is_id_byte)?;
        }
    }
    Ok(())
}

/// An error that reads on after the field.
pub(super) fn bad(field: impl Into<Cow<'static, str>>, problem: &str) -> ItemError {
    let field = field.into();
    let message = format!("{field} {problem}");
    ItemError::new("bad_header", field, message)
}

fn check_value(field: impl Into<Cow<'static, str>>, value: &str) -> Result<(), ItemError> {
    if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(bad(
            field,
            "has a line break or a NUL, which no header can hold",
        ));
    }
    Ok(())
}

fn check_mailboxes(field: &'static str, mailboxes: &[Mailbox]) -> Result<(), ItemError> {
    for (name, address) in mailboxes {
        check_value(field, name)?;
        check_value(field, address)?;
        // A quoted local part may hold most of them; the reader of addresses says which.
        let special = if address.starts_with('"') {
            "<>"
        } else {
            "<>()[],;:\\\" "
        };
        let fits = |c: char| (' '..='~').contains(&c) && !special.contains(c);
        if !address.contains('@') || !address.chars().all(fits) {
            return Err(bad(
                field,
                "has an address that no header can hold: write it like ada@example.com, in ASCII",
            ));
        }
    }
    Ok(())
}

fn check_id(
    field: impl Into<Cow<'static, str>>,
    id: &str,
    most: usize,
    allowed: impl Fn(u8) -> bool,
) -> Result<(), ItemError> {
    if id.is_empty() || id.len() > most || !id.bytes().all(allowed) {
        return Err(bad(
            field,
            "has an id with a character that is not allowed in one, or none, or too many",
        ));
    }
    Ok(())
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"<>".contains(&byte)
}

fn check_name(name: &str) -> Result<(), ItemError> {
    let printable = |b: u8| b.is_ascii_graphic() && b != b':'; // ftext of RFC 5322 3.6.8
    if name.is_empty() || !name.bytes().all(printable) {
        let message = format!("{name:?} is no header name: use letters, digits and hyphens");
        return Err(ItemError::new("bad_header", "headers", message));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with("content-") {
        let message = format!("{name} is written by sealwax; use the email's own field for it");
        return Err(ItemError::new("reserved_header", "headers", message));
    }
    Ok(())
}

fn check_structured(name: &str, value: &str) -> Result<(), ItemError> {
    let lower = name.to_ascii_lowercase();
    let structured = lower.starts_with("list-") || STRUCTURED.contains(&lower.as_str());
    if structured && !value.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
        let message = format!("{name} takes printable ASCII alone");
        return Err(ItemError::new("bad_header", "headers", message));
    }
    Ok(())
}
