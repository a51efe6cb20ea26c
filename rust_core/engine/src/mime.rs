//! Composing a message: RFC 5322 header, MIME body, 7 bit, CRLF, the same bytes for the same draft.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use crate::ItemError;
use crate::header::{write_mailboxes, write_text};

const BASE64_LINE: usize = 76;
const TEXT_WIDTH: usize = 76;
/// Characters of a file name in one RFC 2231 piece, escaped at worst to three each.
const PIECE: usize = 18;

/// Headers that sealwax writes itself, in lower case; `content-` stands for all that begin so.
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

/// A display name, which may be empty, and an address.
pub type Mailbox = (String, String);

/// A file that goes with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, as the reader sees it.
    pub filename: String,
    /// Its media type.
    pub content_type: String,
    /// Its Content-ID without brackets where the HTML shows it inline, or empty.
    pub content_id: String,
    /// Its bytes; they arrive unchanged.
    pub content: Vec<u8>,
}

/// What messages are composed from: one comes out per Message-ID.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Gives X-Sealwax-Id and the boundaries.
    pub email_id: String,
    /// The Date header, milliseconds since 1970.
    pub date_ms: i64,
    /// From.
    pub author: Mailbox,
    /// To; left out where empty.
    pub to: Vec<Mailbox>,
    /// Cc; left out where empty.
    pub cc: Vec<Mailbox>,
    /// Reply-To; left out where empty.
    pub reply_to: Vec<Mailbox>,
    /// Subject.
    pub subject: String,
    /// The HTML body.
    pub html: Option<String>,
    /// The text body; made from the HTML where there is none.
    pub text: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// One a copy, without brackets.
    pub message_ids: Vec<String>,
}

/// Composes one message per Message-ID, unsigned. They differ in nothing else.
///
/// # Errors
/// `bad_header` or `reserved_header` with the field; `no_body` where there is neither html nor text.
pub fn compose(draft: &Draft) -> Result<Vec<Vec<u8>>, ItemError> {
    check(draft)?;
    let mut head = Vec::with_capacity(1024);
    write_header(
        &mut head,
        "Date",
        &Date::new(draft.date_ms.div_euclid(1000)),
    );
    write_mailboxes(&mut head, "From", std::slice::from_ref(&draft.author));
    write_mailboxes(&mut head, "To", &draft.to);
    write_mailboxes(&mut head, "Cc", &draft.cc);
    write_mailboxes(&mut head, "Reply-To", &draft.reply_to);
    write_text(&mut head, "Subject", &draft.subject);
    let mut rest = Vec::with_capacity(16 * 1024);
    rest.extend_from_slice(b"MIME-Version: 1.0\r\n");
    write_header(
        &mut rest,
        "X-Sealwax-Id",
        &Raw::new(draft.email_id.as_str()),
    );
    for (name, value) in &draft.headers {
        write_text(&mut rest, name, value);
    }
    // Writing to a Vec cannot fail.
    let _ = body(draft)?.write_part(&mut rest);
    if !rest.ends_with(b"\r\n") {
        rest.extend_from_slice(b"\r\n");
    }
    let copies = draft.message_ids.iter().map(|id| {
        let line = format!("Message-ID: <{id}>\r\n");
        let mut message = Vec::with_capacity(head.len() + line.len() + rest.len());
        message.extend_from_slice(&head);
        message.extend_from_slice(line.as_bytes());
        message.extend_from_slice(&rest);
        message
    });
    Ok(copies.collect())
}

fn check(draft: &Draft) -> Result<(), ItemError> {
    let people = [
        ("from", std::slice::from_ref(&draft.author)),
        ("to", &draft.to),
        ("cc", &draft.cc),
        ("reply_to", &draft.reply_to),
    ];
    for (field, mailboxes) in people {
        for (name, address) in mailboxes {
            check_value(field, name)?;
            check_value(field, address)?;
        }
    }
    check_value("subject", &draft.subject)?;
    check_value("email_id", &draft.email_id)?;
    for id in &draft.message_ids {
        check_value("message_id", id)?;
    }
    for (name, value) in &draft.headers {
        check_name(name)?;
        check_value("headers", value)?;
    }
    for (i, attachment) in draft.attachments.iter().enumerate() {
        let field = format!("attachments[{i}]");
        check_value(field.clone(), &attachment.filename)?;
        check_value(field.clone(), &attachment.content_type)?;
        check_value(field, &attachment.content_id)?;
    }
    Ok(())
}

fn check_value(field: impl Into<Cow<'static, str>>, value: &str) -> Result<(), ItemError> {
    if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        let field = field.into();
        let message = format!("{field} has a line break or a NUL, which no header can hold");
        return Err(ItemError::new("bad_header", field, message));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), ItemError> {
    let printable = |b: u8| (33..=126).contains(&b) && b != b':'; // RFC 5322 ftext
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

fn write_header(out: &mut Vec<u8>, name: &str, value: &impl mail_builder::headers::Header) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    // Writing to a Vec cannot fail.
    let _ = value.write_header(&mut *out, name.len() + 2);
}

/// The tree of parts: mixed (related (alternative (text, html), inline files), files).
fn body(draft: &Draft) -> Result<MimePart<'_>, ItemError> {
    let part = |subtype: &'static str, text: Cow<'_, str>| {
        let kind = ContentType::new(subtype).attribute("charset", "utf-8");
        MimePart::new(kind, BodyPart::Text(Cow::Owned(crlf(&text))))
    };
    let main = match (&draft.text, &draft.html) {
        (None, None) => return Err(ItemError::new("no_body", "html", "give html, text or both")),
        (Some(text), None) => part("text/plain", text.into()),
        (text, Some(html)) => {
            let text = match text {
                Some(text) => Cow::from(text),
                None => Cow::from(text_of(html)),
            };
            let parts = vec![part("text/plain", text), part("text/html", html.into())];
            multipart(draft, "alternative", parts)
        }
    };
    let (inline, files): (Vec<_>, Vec<_>) = draft
        .attachments
        .iter()
        .partition(|a| !a.content_id.is_empty() && draft.html.is_some());
    let main = with_files(draft, "related", main, inline);
    Ok(with_files(draft, "mixed", main, files))
}

fn with_files<'a>(
    draft: &'a Draft,
    subtype: &str,
    main: MimePart<'a>,
    attachments: Vec<&'a Attachment>,
) -> MimePart<'a> {
    if attachments.is_empty() {
        return main;
    }
    let mut parts = vec![main];
    parts.extend(attachments.into_iter().map(file));
    multipart(draft, subtype, parts)
}

fn multipart<'a>(draft: &Draft, subtype: &str, parts: Vec<MimePart<'a>>) -> MimePart<'a> {
    // "=_" stands in no quoted-printable or base64 text (RFC 2045 6.7), so no body holds it.
    let boundary = format!("=_{subtype}_{}", draft.email_id);
    let kind = ContentType::new(format!("multipart/{subtype}")).attribute("boundary", boundary);
    MimePart::new(kind, parts)
}

fn file(attachment: &Attachment) -> MimePart<'_> {
    let disposition = if attachment.content_id.is_empty() {
        "attachment"
    } else {
        "inline"
    };
    let name = parameter("filename", &attachment.filename);
    let mut part = MimePart::new(
        ContentType::new(attachment.content_type.as_str()),
        BodyPart::Text(Cow::Owned(base64_lines(&attachment.content))),
    )
    .header(
        "Content-Disposition",
        Raw::new(format!("{disposition}{name}")),
    )
    .transfer_encoding("base64");
    if !attachment.content_id.is_empty() {
        part = part.cid(attachment.content_id.as_str());
    }
    part
}

/// A parameter of a MIME header, by RFC 2231 where it is long or not ASCII.
fn parameter(name: &str, value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b" ._-()".contains(&b);
    if value.len() <= 3 * PIECE && value.bytes().all(plain) {
        return format!("; {name}=\"{value}\"");
    }
    let mut out = String::new();
    let characters: Vec<char> = value.chars().collect();
    for (i, piece) in characters.chunks(PIECE).enumerate() {
        let charset = if i == 0 { "utf-8''" } else { "" };
        let _ = write!(out, ";\r\n\t{name}*{i}*={charset}");
        for byte in piece.iter().collect::<String>().bytes() {
            if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn base64_lines(bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut out = String::with_capacity(encoded.len() + encoded.len() / BASE64_LINE * 2 + 2);
    let mut rest = encoded.as_str();
    while let Some((line, more)) = rest.split_at_checked(BASE64_LINE) {
        out.push_str(line);
        out.push_str("\r\n");
        rest = more;
    }
    out.push_str(rest);
    out
}

/// Line ends as mail has them: every CR, LF or CRLF becomes CRLF, NULs go.
fn crlf(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\0' => {}
            '\r' => {
                characters.next_if_eq(&'\n');
                out.push_str("\r\n");
            }
            '\n' => out.push_str("\r\n"),
            other => out.push(other),
        }
    }
    out
}

fn text_of(html: &str) -> String {
    html2text::from_read(html.as_bytes(), TEXT_WIDTH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            email_id: "0192-id".to_owned(),
            author: ("Zoë".to_owned(), "z@a.test".to_owned()),
            to: vec![(String::new(), "b@b.test".to_owned())],
            subject: "Grüße".to_owned(),
            html: Some("<p>Hi <a href=\"https://x.test\">there</a></p>".to_owned()),
            message_ids: vec!["1@a.test".to_owned(), "2@a.test".to_owned()],
            ..Draft::default()
        }
    }

    #[test]
    fn copies_differ_in_their_message_id_alone() {
        let copies = compose(&draft()).unwrap();
        let texts: Vec<_> = copies.iter().map(|m| String::from_utf8_lossy(m)).collect();
        assert_eq!(texts[0].replace("<1@a.test>", "<2@a.test>"), texts[1]);
        assert_eq!(compose(&draft()).unwrap(), copies);
    }

    #[test]
    fn lines_end_with_crlf_and_are_seven_bit() {
        let message = compose(&draft()).unwrap().remove(0);
        assert!(message.is_ascii());
        for line in message.split(|b| *b == b'\n').rev().skip(1) {
            assert_eq!(line.last(), Some(&b'\r'));
        }
    }

    #[test]
    fn a_line_break_in_a_header_is_refused() {
        let mut bad = draft();
        bad.subject = "a\r\nBcc: x@y.test".to_owned();
        assert_eq!(compose(&bad).unwrap_err().code, "bad_header");
        let mut bad = draft();
        bad.headers = vec![("Bcc".to_owned(), "x@y.test".to_owned())];
        assert_eq!(compose(&bad).unwrap_err().code, "reserved_header");
    }
}
