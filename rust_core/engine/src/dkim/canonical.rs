//! What a signature covers: fields, body, and their relaxed forms.

use crate::ItemError;

/// The header fields, each with its folding and without its last CRLF, and the body.
pub(super) fn split(message: &[u8]) -> Result<(Vec<&[u8]>, &[u8]), ItemError> {
    let bad = || ItemError::new("bad_message", "", "the message has no header section");
    let end = find(message, b"\r\n\r\n").ok_or_else(bad)?;
    let (head, body) = message.split_at_checked(end + 2).ok_or_else(bad)?;
    let mut fields = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        let mut length = 0;
        loop {
            let tail = rest.get(length..).unwrap_or_default();
            length += find(tail, b"\r\n").ok_or_else(bad)? + 2;
            if !matches!(rest.get(length), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, more) = rest.split_at_checked(length).ok_or_else(bad)?;
        fields.push(field.strip_suffix(b"\r\n").unwrap_or(field));
        rest = more;
    }
    Ok((fields, body.get(2..).unwrap_or_default()))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

pub(super) fn is_named(field: &[u8], name: &str) -> bool {
    field
        .split_at_checked(name.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')
        })
}

/// RFC 6376 3.4.2.
pub(super) fn relaxed_field(field: &[u8], out: &mut Vec<u8>) {
    let mut parts = field.splitn(2, |b| *b == b':');
    let name = parts.next().unwrap_or_default();
    out.extend(name.trim_ascii().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let value = parts.next().unwrap_or_default();
    let start = out.len();
    for word in value.split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
        if !word.is_empty() {
            if out.len() > start {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
}

/// RFC 6376 3.4.4.
pub(super) fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 2);
    let mut kept = 0;
    for line in body.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut gap = false;
        for &byte in line {
            if matches!(byte, b' ' | b'\t') {
                gap = true;
            } else {
                if gap {
                    out.push(b' ');
                    gap = false;
                }
                out.push(byte);
                kept = 0;
            }
        }
        out.extend_from_slice(b"\r\n");
        kept += 2;
    }
    // What follows the last line that is not empty: its own CRLF stays, the others go.
    if kept == out.len() {
        out.clear();
    } else {
        out.truncate(out.len() + 2 - kept.max(2));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relaxed_body_is_that_of_the_rfc() {
        // RFC 6376 3.4.5, and the empty body of 3.4.4.
        assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b""), b"");
        assert_eq!(relaxed_body(b"\r\n\r\n"), b"");
        assert_eq!(relaxed_body(b"a"), b"a\r\n");
        assert_eq!(relaxed_body(b"a\r\n\r\nb\r\n"), b"a\r\n\r\nb\r\n");
    }

    #[test]
    fn the_relaxed_header_is_that_of_the_rfc() {
        let mut out = Vec::new();
        relaxed_field(b"B : Y\t\r\n\tZ  ", &mut out);
        assert_eq!(out, b"b:Y Z");
    }
}
