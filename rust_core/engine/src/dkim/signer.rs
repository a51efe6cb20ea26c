//! The signatures of one domain.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::canonical::{is_named, relaxed_body, relaxed_field, split};
use super::key::Key;
use crate::ItemError;

/// Headers that are signed where a message has them, in this order.
const SIGNED: &[&str] = &[
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "X-Sealwax-Id",
];
/// Named once more than they stand in the message, so that nobody can add another one.
const OVER_SIGNED: &[&str] = &["From", "To", "Subject"];
const LINE: usize = 74;

/// The keys of one domain, parsed once.
pub struct Signer {
    domain: String,
    keys: Vec<(String, Key)>,
}

impl Signer {
    /// Takes selectors, algorithms (`rsa` or `ed25519`) and private keys as PKCS#8 DER.
    ///
    /// # Errors
    /// `bad_key` where a key is not of its algorithm, or there is none.
    pub fn new(domain: &str, keys: &[(String, String, Vec<u8>)]) -> Result<Self, ItemError> {
        let bad = |why: String| ItemError::new("bad_key", "", why);
        if keys.is_empty() {
            return Err(bad(format!("{domain} has no key")));
        }
        let parse = |(selector, algorithm, der): &(String, String, Vec<u8>)| {
            if !is_dns_name(selector) || !is_dns_name(domain) {
                return Err(bad(format!(
                    "{selector:?} of {domain:?} is no name in the DNS"
                )));
            }
            Key::parse(algorithm, der)
                .map(|key| (selector.clone(), key))
                .map_err(|why| bad(format!("key {selector} of {domain}: {why}")))
        };
        Ok(Self {
            domain: domain.to_owned(),
            keys: keys.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// The d= of the signatures.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The message with one DKIM-Signature per key in front, in the order of the keys, and t=
    /// `time_s` (seconds since 1970). The same arguments make the same bytes.
    ///
    /// # Errors
    /// `bad_message` where it has no header section, `bad_time` before 1970, `sign_failed` where the
    /// key refuses.
    pub fn sign(&self, message: &[u8], time_s: i64) -> Result<Vec<u8>, ItemError> {
        if time_s < 0 {
            return Err(ItemError::new("bad_time", "", "t= is seconds since 1970"));
        }
        let (fields, body) = split(message)?;
        let body_hash = STANDARD.encode(digest(&SHA256, &relaxed_body(body)));
        let (names, canonical) = signed_fields(&fields);
        let mut out = Vec::with_capacity(message.len() + self.keys.len() * 900);
        for (selector, key) in &self.keys {
            let algorithm = key.algorithm();
            let mut header = format!(
                "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; t={time_s};\r\n\t\
                 d={}; s={selector};\r\n\th=",
                self.domain
            );
            fold(&mut header, names.split_inclusive(':'));
            header.push_str(";\r\n\tbh=");
            header.push_str(&body_hash);
            header.push_str(";\r\n\tb=");
            let mut data = canonical.clone();
            relaxed_field(header.as_bytes(), &mut data);
            let signature = key.sign(&data)?;
            fold_text(&mut header, &STANDARD.encode(signature));
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(message);
        Ok(out)
    }
}

/// The h= names joined by colons, and the canonical form of the fields that they name.
fn signed_fields(fields: &[&[u8]]) -> (String, Vec<u8>) {
    let mut names = Vec::new();
    let mut canonical = Vec::with_capacity(1024);
    for name in SIGNED {
        // RFC 6376 5.4.2: several fields of a name are taken from the bottom.
        for field in fields.iter().rev().filter(|f| is_named(f, name)) {
            names.push(*name);
            relaxed_field(field, &mut canonical);
            canonical.extend_from_slice(b"\r\n");
        }
    }
    names.extend(OVER_SIGNED);
    (names.join(":"), canonical)
}

fn fold<'a>(header: &mut String, pieces: impl Iterator<Item = &'a str>) {
    let mut column = 3;
    for piece in pieces {
        if column + piece.len() > LINE {
            header.push_str("\r\n\t ");
            column = 2;
        }
        header.push_str(piece);
        column += piece.len();
    }
}

fn fold_text(header: &mut String, text: &str) {
    let mut rest = text;
    let mut room = LINE - 4;
    while let Some((line, more)) = rest.split_at_checked(room) {
        header.push_str(line);
        header.push_str("\r\n\t ");
        rest = more;
        room = LINE - 2;
    }
    header.push_str(rest);
}

/// What may stand in d= and s= without changing the tags around it.
fn is_dns_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}
