//! The bytes of a message: templates, MIME, DKIM and the records of the log.
//!
//! Plain Rust: no Python, no clock, no file, no socket. Every function takes all it needs and
//! returns a value or an [`ItemError`].

pub mod dkim;
mod error;
pub mod mime;
pub mod record;
pub mod render;

pub use error::ItemError;
