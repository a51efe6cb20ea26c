//! Files as parts: their bytes in base64, their names by RFC 2231.

use std::fmt::Write as _;

use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};

use super::check::bad;
use super::draft::Attachment;
use super::transfer::base64_lines;
use crate::ItemError;

/// Characters of a file name's piece, so that its line stays within 76.
const PIECE: usize = 54;
const OCTETS: &str = "application/octet-stream";

/// The part of an attachment, the `index`th of the draft.
///
/// # Errors
/// `bad_header` where its media type is none.
pub(super) fn part(file: &Attachment, index: usize) -> Result<MimePart<'static>, ItemError> {
    let Some(media_type) = media_type(&file.content_type, &file.content) else {
        let problem = "has a content type that is none: write it like application/pdf";
        return Err(bad(format!("attachments[{index}]"), problem));
    };
    let disposition = if file.content_id.is_empty() {
        "attachment"
    } else {
        "inline"
    };
    let disposition = format!("{disposition}{}", filename(&file.filename));
    let mut part = MimePart::raw(BodyPart::Binary(base64_lines(&file.content).into()))
        .header("Content-Type", Raw::new(media_type))
        .header("Content-Disposition", Raw::new(disposition));
    if !file.content_id.is_empty() {
        part = part.header("Content-ID", Raw::new(format!("<{}>", file.content_id)));
    }
    Ok(part.transfer_encoding("base64"))
}

/// The value of Content-Type, a parameter a line; None where it is no media type.
fn media_type(given: &str, content: &[u8]) -> Option<String> {
    let mut pieces = split_parameters(given).into_iter();
    let essence = match pieces.next()?.trim() {
        "" => OCTETS,
        essence => essence,
    };
    let (kind, subtype) = essence.split_once('/')?;
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    // RFC 2046 5.1 and 5.2.1: neither may be in base64, and readers would take them apart.
    if ["multipart", "message"].contains(&kind.to_ascii_lowercase().as_str()) {
        return Some(OCTETS.to_owned());
    }
    let mut out = essence.to_owned();
    let mut has_charset = false;
    for parameter in pieces.map(str::trim) {
        let (name, value) = parameter.split_once('=')?;
        let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let plain = |b: u8| (b' '..=b'~').contains(&b) && !b"\"\\".contains(&b);
        if !is_token(name) || !quoted.map_or(is_token(value), |v| v.bytes().all(plain)) {
            return None;
        }
        has_charset |= name.eq_ignore_ascii_case("charset");
        let _ = write!(out, ";\r\n\t{parameter}");
    }
    // Without it a text is ASCII, RFC 2046 4.1.2.
    if kind.eq_ignore_ascii_case("text") && !has_charset && std::str::from_utf8(content).is_ok() {
        out.push_str("; charset=\"utf-8\"");
    }
    Some(out)
}

/// Splits at each semicolon outside quotes.
fn split_parameters(given: &str) -> Vec<&str> {
    let mut quoted = false;
    given
        .split(|c| {
            quoted ^= c == '"';
            c == ';' && !quoted
        })
        .collect()
}

/// RFC 2045 section 5.1.
fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The parameter with the name: by RFC 2231 where it is long or not plain ASCII.
fn filename(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b" ._-()".contains(&b);
    if name.is_empty() {
        return String::new();
    }
    if name.len() <= PIECE && name.bytes().all(plain) {
        return format!(";\r\n\tfilename=\"{name}\"");
    }
    let mut pieces = vec![String::new()];
    for c in name.chars() {
        let mut escaped = String::new();
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
                escaped.push(char::from(byte));
            } else {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
        match pieces.last_mut() {
            Some(piece) if piece.len() + escaped.len() <= PIECE => piece.push_str(&escaped),
            _ => pieces.push(escaped),
        }
    }
    if let [only] = &pieces[..] {
        return format!(";\r\n\tfilename*=utf-8''{only}");
    }
    let mut out = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        let charset = if i == 0 { "utf-8''" } else { "" };
        let _ = write!(out, ";\r\n\tfilename*{i}*={charset}{piece}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_where_they_can_be_and_their_lines_short() {
        assert_eq!(filename("a b.pdf"), ";\r\n\tfilename=\"a b.pdf\"");
        assert_eq!(filename("ä.pdf"), ";\r\n\tfilename*=utf-8''%C3%A4.pdf");
        for line in filename(&"😀ä\"".repeat(60)).split("\r\n") {
            assert!(line.len() <= 76, "{line}");
        }
    }

    #[test]
    fn media_types_are_checked_and_composite_ones_become_octets() {
        let given = "text/calendar; method=REQUEST; name=\"a;b\"";
        let written = "text/calendar;\r\n\tmethod=REQUEST;\r\n\tname=\"a;b\"; charset=\"utf-8\"";
        assert_eq!(media_type(given, b"x").unwrap(), written);
        assert_eq!(media_type("text/plain", b"\xff").unwrap(), "text/plain");
        assert_eq!(media_type("image/png", b"x").unwrap(), "image/png");
        for composite in ["", "message/rfc822", "Multipart/mixed; boundary=x"] {
            assert_eq!(media_type(composite, b"").unwrap(), OCTETS);
        }
        for bad in ["pdf", "a/b/c", "a /b", "a/b; c", "a/b; c=\"", "a/ä", "a/b;"] {
            assert_eq!(media_type(bad, b""), None, "{bad}");
        }
    }
}
