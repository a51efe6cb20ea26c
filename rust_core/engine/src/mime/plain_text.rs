//! A text part from an HTML body, with the addresses of its links.
//!
//! Lines are not wrapped: quoted-printable folds them on the way, and no address is broken. It is
//! one pass over the tags, whatever their nesting: ready-made converters draw newsletters' layout
//! tables as boxes, break addresses, or take time that grows by the square of the depth.

use std::mem::take;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Emitter, ForwardingEmitter, Span, Tokenizer};

/// Elements whose text is no content.
const HIDDEN: &[&str] = &["style", "script", "title", "template", "noscript"];
/// Elements with an empty line around them.
const PARAGRAPHS: &[&str] = &[
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "table",
    "ul",
    "ol",
    "dl",
    "blockquote",
    "pre",
    "figure",
    "section",
    "article",
];
/// Elements on lines of their own.
const LINES: &[&str] = &[
    "div",
    "tr",
    "li",
    "dt",
    "dd",
    "address",
    "header",
    "footer",
    "main",
    "nav",
    "aside",
    "form",
    "fieldset",
    "center",
    "figcaption",
    "caption",
    "body",
];
/// Deeper quotes and lists look like this depth.
const DEEPEST: usize = 8;

/// The text of an HTML body; empty where it has none.
pub(super) fn plain_text(html: &str) -> String {
    let mut page = Page::default();
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| -> Option<()> {
        page.event(event);
        None
    });
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(html, Quiet(emitter)).for_each(drop);
    page.out
}

/// An emitter for which no syntax errors are looked for; the search takes a third of the time.
struct Quiet<E>(E);

impl<E: Emitter> ForwardingEmitter for Quiet<E> {
    type Token = E::Token;

    fn inner(&mut self) -> &mut impl Emitter<Token = Self::Token> {
        &mut self.0
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }
}

/// A start tag that is being read.
#[derive(Default)]
struct Tag {
    name: String,
    /// The attribute whose value comes next.
    attribute: String,
    href: String,
    alt: String,
}

/// The text so far, and what it takes to go on.
#[derive(Default)]
struct Page {
    out: String,
    tag: Tag,
    /// Line breaks that come before the next word.
    breaks: usize,
    /// Whether a space comes before the next word.
    spaced: bool,
    /// The element whose text is left out.
    hidden: Option<String>,
    preformatted: bool,
    quotes: usize,
    /// Per list: None for bullets, else the last number.
    lists: Vec<Option<usize>>,
    /// Of the link that is open: its address, and where its text begins.
    link: Option<(String, usize)>,
}

impl Page {
    fn event(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = Tag {
                    name: String::from_utf8_lossy(name).into_owned(),
                    ..Tag::default()
                };
            }
            CallbackEvent::AttributeName { name } => {
                self.tag.attribute.clear();
                self.tag.attribute.push_str(&String::from_utf8_lossy(name));
            }
            CallbackEvent::AttributeValue { value } => {
                let kept = match &*self.tag.attribute {
                    "href" => &mut self.tag.href,
                    "alt" => &mut self.tag.alt,
                    _ => return,
                };
                // Of several the first one counts.
                if kept.is_empty() {
                    kept.push_str(String::from_utf8_lossy(value).trim());
                }
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                let tag = take(&mut self.tag);
                self.open(tag, self_closing);
            }
            CallbackEvent::EndTag { name } => self.close(&String::from_utf8_lossy(name)),
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            _ => {}
        }
    }

    fn open(&mut self, tag: Tag, self_closing: bool) {
        let name = &*tag.name;
        if self.hidden.is_some() {
            return;
        }
        if HIDDEN.contains(&name) {
            if !self_closing {
                self.hidden = Some(tag.name);
            }
            return;
        }
        self.separate(name);
        match name {
            "br" => self.breaks = (self.breaks + 1).min(2),
            "hr" => self.lines_of_its_own("----"),
            "td" | "th" => self.spaced = true,
            "pre" => self.preformatted = true,
            "blockquote" => self.quotes += 1,
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(0)),
            "li" => self.item(),
            "img" => self.words(&tag.alt),
            "a" => {
                self.close_link();
                let goes_nowhere = |prefix: &&str| tag.href.starts_with(prefix);
                if !tag.href.is_empty() && !["#", "javascript:", "data:"].iter().any(goes_nowhere) {
                    self.link = Some((tag.href, self.out.len()));
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if let Some(hidden) = &self.hidden {
            if hidden == name {
                self.hidden = None;
            }
            return;
        }
        match name {
            "a" => self.close_link(),
            "pre" => self.preformatted = false,
            "blockquote" => self.quotes = self.quotes.saturating_sub(1),
            "ul" | "ol" => {
                self.lists.pop();
            }
            _ => {}
        }
        self.separate(name);
    }

    fn separate(&mut self, name: &str) {
        let breaks = if PARAGRAPHS.contains(&name) {
            2
        } else {
            usize::from(LINES.contains(&name))
        };
        self.breaks = self.breaks.max(breaks);
    }

    fn lines_of_its_own(&mut self, text: &str) {
        self.breaks = self.breaks.max(1);
        self.words(text);
        self.breaks = 1;
    }

    fn item(&mut self) {
        let depth = self.lists.len().clamp(1, DEEPEST);
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{number}.")
            }
            _ => "*".to_owned(),
        };
        self.begin_word();
        self.out.push_str(&"  ".repeat(depth - 1));
        self.out.push_str(&mark);
        self.spaced = true;
    }

    fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        if !self.preformatted {
            self.words(text);
            return;
        }
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                self.breaks += 1;
            }
            if !line.trim_ascii().is_empty() {
                self.begin_word();
                self.out.push_str(line.trim_ascii_end());
            }
        }
    }

    /// Words with one space for each run of them; a no-break space is one as well.
    fn words(&mut self, text: &str) {
        let is_space = |c: char| c.is_ascii_whitespace() || c == '\u{a0}';
        self.spaced |= text.starts_with(is_space);
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            self.begin_word();
            self.out.push_str(word);
            self.spaced = true;
        }
        self.spaced &= text.is_empty() || text.ends_with(is_space);
    }

    /// Writes the space or the line breaks that stand before the next word.
    fn begin_word(&mut self) {
        if self.out.is_empty() {
            self.breaks = 0;
            self.out.push_str(&"> ".repeat(self.quotes.min(DEEPEST)));
        } else if self.breaks > 0 {
            for _ in 0..self.breaks {
                self.out.push('\n');
            }
            self.breaks = 0;
            self.out.push_str(&"> ".repeat(self.quotes.min(DEEPEST)));
        } else if self.spaced {
            self.out.push(' ');
        }
        self.spaced = false;
    }

    /// Adds the address of a link, in the brackets of RFC 3986 appendix C, unless its text is it.
    fn close_link(&mut self) {
        let Some((address, start)) = self.link.take() else {
            return;
        };
        let text = self.out.get(start..).unwrap_or_default().trim();
        let bare = address.strip_prefix("mailto:").unwrap_or(&address);
        if text != address && text != bare {
            self.spaced |= !text.is_empty();
            self.words(&format!("<{address}>"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_their_whole_address() {
        let long = format!("https://a.test/{}?a=1&amp;b=2", "x".repeat(200));
        let text = plain_text(&format!(
            "<p>See <a href=\"{long}\">this <b>page</b></a>, please."
        ));
        let address = long.replace("&amp;", "&");
        assert_eq!(text, format!("See this page <{address}>, please."));
        let html = "<a href='mailto:a@b.test'>a@b.test</a> <a href=#top>up</a> <a href=x><img></a>";
        assert_eq!(plain_text(html), "a@b.test up <x>");
    }

    #[test]
    fn a_newsletter_reads_as_text() {
        let html = "<!doctype html><html><head><title>T</title><style>a{b:c}</style></head><body>\
            <!--[if mso]><p>Outlook</p><![endif]--><table><tr><td><img alt='Acme'></td>\
            <td><h1>Big &amp; new</h1></td></tr></table><p>Dear\n Ada,<br>all&nbsp;good.\
            <ul><li>one<li>two</ul><ol><li>a</ol><pre>x\n  y</pre><blockquote>said</blockquote>\
            <hr><div>Left</div><div>Right</div><script>if (a < b) {}</script></body></html>";
        let text = "Acme\n\nBig & new\n\nDear Ada,\nall good.\n\n* one\n* two\n\n1. a\n\nx\n  y\n\n\
            > said\n\n----\nLeft\nRight";
        assert_eq!(plain_text(html), text);
    }

    #[test]
    fn words_join_and_part_as_the_html_says() {
        assert_eq!(plain_text("a<b>b</b> <i>c</i>d"), "ab cd");
        assert_eq!(plain_text("a <b> b</b>"), "a b");
        assert_eq!(plain_text("<td>a</td><td>b</td>"), "a b");
        assert_eq!(plain_text("<p> </p>\n<img>"), "");
        assert_eq!(plain_text("1 < 2 &lt; &#51;"), "1 < 2 < 3");
    }

    #[test]
    fn no_nesting_is_too_deep() {
        for tag in [
            "<div>",
            "<blockquote>",
            "<ul><li>",
            "<a href=x>",
            "<table><tr><td>",
            "<b><p>",
        ] {
            let text = plain_text(&format!("{}end", tag.repeat(100_000)));
            assert!(text.contains("end"), "{tag}");
        }
    }
}
