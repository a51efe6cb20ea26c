"""The id of an email: a UUIDv7 (RFC 9562 5.7), whose time is when the email was accepted."""

import re

from sealwax.errors import SealwaxError

ENTROPY_BYTES = 10
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_MAX_MS = (1 << 48) - 1
_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


class EmailIdError(SealwaxError, ValueError):
    """A text is not the id of an email."""


def email_id(ms: int, entropy: bytes) -> str:
    """Makes the id of an email accepted at `ms`.

    Args:
        ms: Milliseconds since 1970, 0 to 2^48 - 1.
        entropy: At least 10 bytes, of which the first 10 are used: random ones, or a digest where
            the same request must get the same id again.

    Returns:
        36 characters, lower case. Ids of different milliseconds sort by time.
    """
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"an email id needs {ENTROPY_BYTES} bytes of entropy, got {len(entropy)}")
    if not 0 <= ms <= _MAX_MS:
        raise ValueError(f"{ms} ms does not fit into a UUIDv7")
    bits = int.from_bytes(entropy[:ENTROPY_BYTES], "big")
    # 80 bits come in, 74 are used: 12 after the version, 62 after the variant.
    high = (bits >> 62) & 0xFFF
    low = bits & ((1 << 62) - 1)
    text = f"{(ms << 80) | _VERSION_7 | (high << 64) | _VARIANT | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_email_id(text: str) -> bool:
    """Whether `text` is a UUIDv7 in the form that `email_id` writes."""
    return _FORM.fullmatch(text) is not None


def accepted_at_ms(email_id: str) -> int:
    """The time inside an id, milliseconds since 1970. Raises EmailIdError."""
    if not is_email_id(email_id):
        raise EmailIdError(
            f"{email_id[:64]!r} is not the id of an email: copy it from the answer to the send, "
            "36 characters in lower case"
        )
    return int(email_id[:8] + email_id[9:13], 16)
