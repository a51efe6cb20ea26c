//! DKIM signatures, RFC 6376 with RFC 8301 and RFC 8463: relaxed/relaxed, RSA and Ed25519.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

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

/// A private key of either algorithm.
enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

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
        let parse = |(selector, algorithm, der): &(String, String, Vec<u8>)| {
            let bad = |why: &str| {
                ItemError::new("bad_key", "", format!("key {selector} of {domain}: {why}"))
            };
            let key = match algorithm.as_str() {
                "rsa" => RsaKeyPair::from_pkcs8(der)
                    .map(|pair| Key::Rsa(Box::new(pair)))
                    .map_err(|e| bad(&e.to_string()))?,
                "ed25519" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                    .map(Key::Ed25519)
                    .map_err(|e| bad(&e.to_string()))?,
                other => return Err(bad(&format!("unknown algorithm {other}"))),
            };
            Ok((selector.clone(), key))
        };
        if keys.is_empty() {
            return Err(ItemError::new(
                "bad_key",
                "",
                format!("{domain} has no key"),
            ));
        }
        Ok(Self {
            domain: domain.to_owned(),
            keys: keys.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// The d= of the signatures.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The message with one DKIM-Signature per key in front.
    ///
    /// # Errors
    /// `bad_message` where it has no header section, `sign_failed` where the key refuses.
    pub fn sign(&self, message: &[u8], time_s: i64) -> Result<Vec<u8>, ItemError> {
        let (fields, body) = split(message)?;
        let body_hash = STANDARD.encode(Sha256::digest(relaxed_body(body)));
        let (names, canonical) = signed_fields(&fields);
        let mut out = Vec::with_capacity(message.len() + self.keys.len() * 900);
        for (selector, key) in &self.keys {
            let algorithm = match key {
                Key::Rsa(_) => "rsa-sha256",
                Key::Ed25519(_) => "ed25519-sha256",
            };
            let mut header = format!(
                "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={};\r\n\ts={selector}; \
                 t={time_s};\r\n\th=",
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

impl Key {
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>, ItemError> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    data,
                    &mut signature,
                )
                .map_err(|_| ItemError::new("sign_failed", "", "the RSA key does not sign"))?;
                Ok(signature)
            }
            // RFC 8463 section 3: the SHA-256 of the data is what Ed25519 signs.
            Self::Ed25519(pair) => Ok(pair.sign(&Sha256::digest(data)).as_ref().to_vec()),
        }
    }
}

/// The header fields, each with its folding and without its last CRLF, and the body.
fn split(message: &[u8]) -> Result<(Vec<&[u8]>, &[u8]), ItemError> {
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

fn is_named(field: &[u8], name: &str) -> bool {
    field
        .split_at_checked(name.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')
        })
}

/// RFC 6376 3.4.2.
fn relaxed_field(field: &[u8], out: &mut Vec<u8>) {
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
fn relaxed_body(body: &[u8]) -> Vec<u8> {
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
