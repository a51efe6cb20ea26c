//! The header section around the body.

use mail_builder::headers::Header as _;
use mail_builder::headers::date::Date;

use super::body::body;
use super::check::{bad, check};
use super::draft::Draft;
use super::header::{write_field, write_mailboxes, write_phrase};
use crate::ItemError;

/// The longest line, without its CRLF: RFC 5322 section 2.1.1.
const LINE: usize = 998;

/// Composes one message per Message-ID, unsigned. They differ in nothing else.
///
/// # Errors
/// `bad_header` or `reserved_header` with the field; `no_body` where there is neither html nor text.
pub fn compose(draft: &Draft) -> Result<Vec<Vec<u8>>, ItemError> {
    check(draft)?;
    let mut head = Vec::with_capacity(1024);
    head.extend_from_slice(b"Date: ");
    // Writing to a Vec cannot fail.
    let _ = Date::new(draft.date_ms.div_euclid(1000)).write_header(&mut head, 6);
    write_mailboxes(&mut head, "From", std::slice::from_ref(&draft.author));
    let field = fitting("from", &head, 0)?;
    write_mailboxes(&mut head, "To", &draft.to);
    let field = fitting("to", &head, field)?;
    write_mailboxes(&mut head, "Cc", &draft.cc);
    let field = fitting("cc", &head, field)?;
    write_mailboxes(&mut head, "Reply-To", &draft.reply_to);
    let field = fitting("reply_to", &head, field)?;
    write_phrase(&mut head, "Subject", &draft.subject);
    fitting("subject", &head, field)?;

    let mut rest = Vec::with_capacity(16 * 1024);
    rest.extend_from_slice(b"MIME-Version: 1.0\r\nX-Sealwax-Id: ");
    rest.extend_from_slice(draft.email_id.as_bytes());
    rest.extend_from_slice(b"\r\n");
    for (name, value) in &draft.headers {
        write_field(&mut rest, name, value);
    }
    fitting("headers", &rest, 0)?;
    let _ = body(draft)?.write_part(&mut rest);
    if !rest.ends_with(b"\r\n") {
        rest.extend_from_slice(b"\r\n");
    }
    let copies = draft.message_ids.iter().map(|id| {
        let lines: [&[u8]; 5] = [&head, b"Message-ID: <", id.as_bytes(), b">\r\n", &rest];
        lines.concat()
    });
    Ok(copies.collect())
}

/// Where the next field begins, if all lines from `start` on are short enough.
fn fitting(field: &'static str, written: &[u8], start: usize) -> Result<usize, ItemError> {
    let fields = written.get(start..).unwrap_or_default();
    let longest = fields.split(|b| *b == b'\n').map(<[u8]>::len).max();
    if longest.unwrap_or_default() > LINE + 1 {
        return Err(bad(
            field,
            "has a word that does not fit on a line of 998 characters",
        ));
    }
    Ok(written.len())
}
