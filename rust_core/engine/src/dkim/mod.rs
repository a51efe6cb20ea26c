//! DKIM signatures, RFC 6376 with RFC 8301 and RFC 8463: relaxed/relaxed, RSA and Ed25519.
//!
//! mail-auth's signer reads the clock for t= and brings a DNS resolver with it, so the signature is
//! put together here, over aws-lc-rs.

mod canonical;
mod key;
mod signer;

pub use signer::Signer;
