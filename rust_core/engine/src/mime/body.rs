//! The tree of parts: mixed (related (alternative (text, html), inline files), files).

use std::borrow::Cow;

use mail_builder::headers::content_type::ContentType;
use mail_builder::mime::{BodyPart, MimePart};

use super::attachment;
use super::draft::{Attachment, Draft};
use super::plain_text::plain_text;
use super::transfer::{crlf, encode};
use crate::ItemError;

/// Builds the body with its Content headers.
///
/// # Errors
/// `no_body` where there is neither html nor text, `bad_header` for an attachment's media type.
pub(super) fn body(draft: &Draft) -> Result<MimePart<'static>, ItemError> {
    let html = draft.html.as_deref().map(crlf);
    let text = match (&draft.text, &draft.html) {
        (Some(text), _) => crlf(text),
        (None, Some(html)) => crlf(&plain_text(html)).into_owned().into(),
        (None, None) => return Err(ItemError::new("no_body", "html", "give html, text or both")),
    };
    let boundaries = Boundaries::around(&draft.email_id, &[&text, html.as_deref().unwrap_or("")]);
    let mut main = leaf("text/plain", &text);
    let mut kind = "text/plain";
    if let Some(html) = &html {
        kind = "multipart/alternative";
        main = boundaries.part("alternative", vec![main, leaf("text/html", html)], None);
    }
    let is_inline = |file: &Attachment| !file.content_id.is_empty() && html.is_some();
    let mut inline = vec![main];
    let mut files = Vec::new();
    for (i, file) in draft.attachments.iter().enumerate() {
        let part = attachment::part(file, i)?;
        if is_inline(file) {
            inline.push(part);
        } else {
            files.push(part);
        }
    }
    let main = match inline.len() {
        1 => inline.pop(),
        _ => Some(boundaries.part("related", inline, Some(kind))), // RFC 2387 3.1 wants the type
    };
    let mut parts: Vec<_> = main.into_iter().chain(files).collect();
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => Ok(only),
        (_, last) => {
            parts.extend(last);
            Ok(boundaries.part("mixed", parts, None))
        }
    }
}

fn leaf(media_type: &'static str, text: &str) -> MimePart<'static> {
    let (encoding, bytes) = encode(text);
    MimePart::new(
        ContentType::new(media_type).attribute("charset", "utf-8"),
        BodyPart::Binary(Cow::Owned(bytes)),
    )
    .transfer_encoding(encoding)
}

/// Boundaries that stand in no part: they are a function of the email's id and the texts.
struct Boundaries {
    id: String,
}

impl Boundaries {
    /// "=_" stands in no quoted-printable or base64 text (RFC 2045 6.7); a text that travels as it
    /// is could hold an id, so the id grows until none does.
    fn around(email_id: &str, texts: &[&str]) -> Self {
        let mut id = email_id.to_owned();
        while id.len() < 55 && texts.iter().any(|text| text.contains(&id)) {
            id.push('_');
        }
        Self { id }
    }

    fn part(
        &self,
        subtype: &str,
        parts: Vec<MimePart<'static>>,
        of: Option<&'static str>,
    ) -> MimePart<'static> {
        let mut kind = ContentType::new(format!("multipart/{subtype}"));
        if let Some(of) = of {
            kind = kind.attribute("type", of);
        }
        MimePart::new(
            kind.attribute("boundary", format!("=_{subtype}_{}", self.id)),
            parts,
        )
    }
}
