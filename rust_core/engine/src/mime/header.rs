//! Header fields: RFC 5322 folding, RFC 2047 encoded words.
//!
//! mail-builder puts encoded words inside quoted strings, which RFC 2047 section 5 forbids, and can
//! exceed their 75 characters; so headers with free text are written here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Lines are folded to stay within this where a space allows it.
const LINE: usize = 76;
/// `=?utf-8?B?` and `?=`.
const WORD_FRAME: usize = 12;
/// The longest display name that stays on one line.
const PHRASE: usize = 64;
/// The longest encoded word, RFC 2047 section 2.
const WORD: usize = 75;

/// Appends a field whose grammar we do not know: ASCII stays as it is, words of any length.
pub(super) fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut line = Line::begin(out, name);
    if is_plain(value) {
        line.words(value);
    } else {
        line.encoded(value);
    }
    line.end();
}

/// Appends a field of free text, such as Subject; a word too long for a line becomes encoded words.
pub(super) fn write_phrase(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut line = Line::begin(out, name);
    if is_plain(value) && value.split(' ').all(|word| word.len() < LINE - name.len()) {
        line.words(value);
    } else {
        line.encoded(value);
    }
    line.end();
}

/// Appends a field with mailboxes, such as To; nothing where there are none.
pub(super) fn write_mailboxes(out: &mut Vec<u8>, name: &str, mailboxes: &[(String, String)]) {
    if mailboxes.is_empty() {
        return;
    }
    let mut line = Line::begin(out, name);
    for (i, (display, address)) in mailboxes.iter().enumerate() {
        let comma = if i + 1 < mailboxes.len() { "," } else { "" };
        if display.is_empty() {
            line.word(&format!("{address}{comma}"), i > 0);
            continue;
        }
        let phrase = phrase(display);
        if is_plain(display) && phrase.len() <= PHRASE {
            line.word(&phrase, i > 0);
        } else {
            if i > 0 {
                line.space();
            }
            line.encoded(display);
        }
        line.word(&format!("<{address}>{comma}"), true);
    }
    line.end();
}

/// Printable ASCII that no reader takes for an encoded word.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.contains("=?")
}

/// A display name as atoms where it may be, else as a quoted string.
fn phrase(display: &str) -> String {
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let mut words = display.split(' ');
    if words.all(|word| !word.is_empty() && word.bytes().all(atom)) {
        return display.to_owned();
    }
    let mut quoted = String::with_capacity(display.len() + 2);
    quoted.push('"');
    for c in display.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// A field that is being written; it knows its column.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        Self {
            out,
            column: name.len() + 2,
        }
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.column += text.len();
    }

    fn space(&mut self) {
        self.put(" ");
    }

    fn fold(&mut self) {
        self.out.extend_from_slice(b"\r\n ");
        self.column = 1;
    }

    /// A word, after a space or a fold in its place.
    fn word(&mut self, word: &str, spaced: bool) {
        if spaced {
            // A fold before nothing would leave a line of white space alone.
            if self.column + 1 + word.len() > LINE && !word.is_empty() {
                self.fold();
            } else {
                self.space();
            }
        }
        self.put(word);
    }

    /// Words with the spaces between them, folded where they do not fit.
    fn words(&mut self, text: &str) {
        for (i, word) in text.split(' ').enumerate() {
            self.word(word, i > 0);
        }
    }

    /// Text as encoded words, each within its line; readers join them without the folds.
    fn encoded(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let room = LINE.saturating_sub(self.column).min(WORD);
            let bytes = room.saturating_sub(WORD_FRAME) / 4 * 3;
            let end = rest.floor_char_boundary(bytes.min(rest.len()));
            if end == 0 {
                self.fold();
                continue;
            }
            let (piece, more) = rest.split_at_checked(end).unwrap_or((rest, ""));
            self.put(&format!("=?utf-8?B?{}?=", STANDARD.encode(piece)));
            rest = more;
            if !rest.is_empty() {
                self.fold();
            }
        }
    }

    fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> String {
        let mut out = Vec::new();
        write_phrase(&mut out, "Subject", value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ascii_stays_as_it_is() {
        assert_eq!(text("Hello there"), "Subject: Hello there\r\n");
    }

    #[test]
    fn a_display_name_is_never_an_encoded_word_in_quotes() {
        let mut out = Vec::new();
        let people = [
            ("Zoë, \"Z\"".to_owned(), "z@a.test".to_owned()),
            ("Last, First".to_owned(), "l@a.test".to_owned()),
        ];
        write_mailboxes(&mut out, "To", &people);
        let header = String::from_utf8(out).unwrap();
        assert!(!header.contains("\"=?"), "{header}");
        assert!(header.contains("\"Last, First\" <l@a.test>"), "{header}");
    }

    proptest! {
        #[test]
        fn no_line_is_long_and_none_is_blank(value in "(\\PC| ?[a-z]{1,90} ){0,300}") {
            let header = text(&value);
            for line in header.trim_end_matches("\r\n").split("\r\n").skip(1) {
                prop_assert!(line.starts_with(' ') && !line.trim().is_empty());
                prop_assert!(line.len() <= LINE);
            }
            for word in header.split_whitespace().filter(|w| w.starts_with("=?utf-8?B?")) {
                prop_assert!(word.len() <= WORD);
            }
            prop_assert!(header.is_ascii());
        }
    }
}
