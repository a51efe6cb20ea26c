"""DKIM signatures, RFC 6376 with RFC 8463, by the Rust core."""

from collections.abc import Sequence

from sealwax import native
from sealwax.model.tenant import SigningKey
from sealwax.native import ItemError, Signer

__all__ = ["ItemError", "Signer", "sign_messages", "signer"]


def signer(domain: str, keys: Sequence[SigningKey]) -> Signer:
    """The keys of a domain, parsed once.

    Raises:
        ValueError: A key is not of its algorithm, or there is none.
    """
    return Signer(domain, [(key.selector, key.algorithm, key.pkcs8_der) for key in keys])


def sign_messages(jobs: Sequence[tuple[bytes, Signer, int]]) -> list[bytes | ItemError]:
    """Message, keys and t= (seconds since 1970) -> the message with one signature per key."""
    return native.sign(jobs)
