//! How bodies travel: line ends, and the transfer encodings of RFC 2045.
//!
//! mail-builder's quoted-printable lines may have 77 characters, one more than section 6.7 allows.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr3;

/// The longest encoded line, without its CRLF.
const LINE: usize = 76;
/// Bytes that make a line of base64.
const BASE64_BYTES: usize = LINE / 4 * 3;
const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// Mailbox files of the mbox kind change a line that begins so, and with it the body's hash.
const MBOX_FROM: &[u8] = b"From ";

/// Line ends as mail has them: every CR, LF or CRLF becomes CRLF, NULs go.
pub(super) fn crlf(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut rest = text;
    while let Some((line, found)) =
        memchr3(b'\r', b'\n', 0, rest.as_bytes()).and_then(|at| rest.split_at_checked(at))
    {
        out.push_str(line);
        let after = found.get(1..).unwrap_or_default();
        rest = match found.bytes().next() {
            Some(0) => after,
            first => {
                out.push_str("\r\n");
                let paired = first == Some(b'\r') && after.starts_with('\n');
                after.get(usize::from(paired)..).unwrap_or_default()
            }
        };
    }
    if out.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The name of the encoding that suits a text with CRLF lines best, and the text in it.
pub(super) fn encode(text: &str) -> (&'static str, Vec<u8>) {
    let (mut equals, mut others) = (0, 0);
    let mut fits = true;
    for line in lines(text) {
        for byte in line {
            equals += usize::from(*byte == b'=');
            others += usize::from(*byte != b'=' && must_escape(*byte));
        }
        fits &= line.len() <= LINE
            && !matches!(line.last(), Some(b' ' | b'\t'))
            && !line.starts_with(MBOX_FROM);
    }
    if fits && others == 0 {
        ("7bit", text.as_bytes().to_vec())
    } else if (equals + others) * 2 < text.len() / 3 {
        ("quoted-printable", quoted_printable(text))
    } else {
        ("base64", base64_lines(text.as_bytes()))
    }
}

/// Lines of base64, each with its CRLF.
pub(super) fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let mut out = String::with_capacity(bytes.len() / 57 * 78 + 80);
    for line in bytes.chunks(BASE64_BYTES) {
        STANDARD.encode_string(line, &mut out);
        out.push_str("\r\n");
    }
    out.into_bytes()
}

/// The lines of a text whose line ends are CRLF.
fn lines(text: &str) -> impl Iterator<Item = &[u8]> {
    let lines = text.as_bytes().split(|b| *b == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn must_escape(byte: u8) -> bool {
    byte == b'=' || !matches!(byte, b'\t' | b' '..=b'~')
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8 + 16);
    for (i, line) in lines(text).enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\r\n");
        }
        quoted_printable_line(line, &mut out);
    }
    out
}

fn quoted_printable_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let is_last = after.is_empty();
        let escaped = must_escape(byte) || (is_last && matches!(byte, b' ' | b'\t'));
        let width = if escaped { 3 } else { 1 };
        // The last one needs no room for the equals sign of a soft break.
        if column + width > LINE - usize::from(!is_last) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if escaped || (column == 0 && rest.starts_with(MBOX_FROM)) {
            out.push(b'=');
            out.extend(
                [byte >> 4, byte & 15].map(|n| HEX.get(usize::from(n)).copied().unwrap_or(b'0')),
            );
            column += 3;
        } else {
            out.push(byte);
            column += 1;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 2045 6.7 read backwards, strictly.
    fn decoded(encoded: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(encoded).unwrap().replace("=\r\n", "");
        let mut out = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'=' {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap());
            } else {
                out.push(byte);
            }
        }
        out
    }

    #[test]
    fn line_ends_become_crlf() {
        assert_eq!(crlf("a\nb\rc\r\nd\r\r\n\0e"), "a\r\nb\r\nc\r\nd\r\n\r\ne");
        assert!(matches!(crlf("plain"), Cow::Borrowed("plain")));
        assert_eq!(crlf("\n"), "\r\n");
    }

    #[test]
    fn plain_text_travels_as_it_is_and_foreign_scripts_in_base64() {
        assert_eq!(encode("a = b\r\n").0, "7bit");
        assert_eq!(encode("Grüße, and some more of it").0, "quoted-printable");
        assert_eq!(encode("привет").0, "base64");
        assert_eq!(encode("ends with a space ").0, "quoted-printable");
        assert_eq!(quoted_printable("From me"), b"=46rom me");
    }

    proptest! {
        #[test]
        fn a_text_comes_back_from_short_lines(text in "([a-z =.\u{1}ä😀\t\n]|From ){0,300}") {
            let text = crlf(&text);
            let encoded = quoted_printable(&text);
            for line in encoded.split(|b| *b == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                prop_assert!(line.len() <= LINE && line.is_ascii() && !line.starts_with(MBOX_FROM));
                prop_assert!(!matches!(line.last(), Some(b' ' | b'\t')));
            }
            prop_assert_eq!(decoded(&encoded), text.as_bytes());
        }
    }
}
