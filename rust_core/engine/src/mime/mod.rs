//! Composing a message: RFC 5322 header, MIME body, 7 bit, CRLF, the same bytes for the same draft.

mod attachment;
mod body;
mod check;
mod compose;
mod draft;
mod header;
mod plain_text;
mod transfer;

pub use compose::compose;
pub use draft::{Attachment, Draft, Mailbox};
