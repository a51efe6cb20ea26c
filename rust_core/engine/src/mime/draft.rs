//! What a message is composed from.

/// A display name, which may be empty, and an address.
pub type Mailbox = (String, String);

/// A file that goes with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, as the reader sees it.
    pub filename: String,
    /// Its media type, parameters included; empty for `application/octet-stream`.
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
