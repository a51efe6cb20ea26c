//! Private keys of either algorithm.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

use crate::ItemError;

/// A private key.
pub(super) enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    /// Reads a key, or says why it is none.
    pub(super) fn parse(algorithm: &str, pkcs8_der: &[u8]) -> Result<Self, String> {
        match algorithm {
            "rsa" => RsaKeyPair::from_pkcs8(pkcs8_der)
                .map(|pair| Self::Rsa(Box::new(pair)))
                .map_err(|error| error.to_string()),
            "ed25519" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8_der)
                .map(Self::Ed25519)
                .map_err(|error| error.to_string()),
            other => Err(format!("unknown algorithm {other}")),
        }
    }

    /// The a= of its signatures.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, ItemError> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // PKCS #1 v1.5 draws on the random source for blinding alone: same data, same bytes.
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, data, &mut signature)
                    .map_err(|_| ItemError::new("sign_failed", "", "the RSA key does not sign"))?;
                Ok(signature)
            }
            // RFC 8463 section 3: the SHA-256 of the data is what Ed25519 signs.
            Self::Ed25519(pair) => Ok(pair.sign(digest(&SHA256, data).as_ref()).as_ref().to_vec()),
        }
    }
}
