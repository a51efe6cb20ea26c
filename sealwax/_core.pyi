"""The Rust core: batches in, a result or an ItemError per item out.

One bad item fails alone. Every call releases the GIL; nothing here reads a clock, a file or a
socket.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias, final

__all__ = [
    "Draft",
    "ItemError",
    "Signer",
    "compose",
    "decode_deliveries",
    "delivery_row",
    "encode_deliveries",
    "render",
    "sign",
]

@final
class ItemError:
    """Why one item of a batch failed; the others are not touched."""

    @property
    def code(self) -> str: ...  # a stable word; each call lists its own
    @property
    def field(self) -> str: ...  # subject, html, text, headers, attachments[2], ... or empty
    @property
    def message(self) -> str: ...  # a sentence for the sender, of some 500 bytes at most

_Template: TypeAlias = tuple[
    str | None, str | None, str | None, bytes
]  # subject, html, text, data as JSON
_Rendered: TypeAlias = tuple[str | None, str | None, str | None]

def render(jobs: Sequence[_Template]) -> list[_Rendered | ItemError]:
    """Renders Handlebars in strict mode; html is escaped, subject and text are not.

    A condition may ask for what data does not have, a value may not. Time and stack are bounded for
    any template: no partials or decorators, 100 levels, 1 MB of source, 8 MB of text, 50,000 runs
    of blocks.

    Codes: missing_variable, template_syntax, template_failed, too_large, bad_data.
    """

@final
class Draft:
    """What a message is composed from; one message comes out per Message-ID."""

    def __new__(
        cls,
        *,
        email_id: str,  # gives X-Sealwax-Id and the boundaries; up to 50 letters, digits, - _ .
        date_ms: int,  # the Date header, milliseconds since 1970
        author: tuple[str, str],  # display name or "", address
        to: Sequence[tuple[str, str]],
        cc: Sequence[tuple[str, str]],
        reply_to: Sequence[tuple[str, str]],
        subject: str,
        html: str | None,
        text: str | None,  # made from html where None
        headers: Sequence[tuple[str, str]],
        attachments: Sequence[tuple[str, str, str, bytes]],  # filename, type, content id, bytes
        message_ids: Sequence[str],  # one a copy, without the angle brackets
    ) -> Draft: ...

def compose(drafts: Sequence[Draft]) -> list[list[bytes] | ItemError]:
    """Builds the messages: CRLF lines, 7 bit, one list entry per Message-ID, unsigned.

    The same draft makes the same bytes; copies differ in their Message-ID alone.

    Codes: bad_header (a line break or what else a header cannot hold), reserved_header, no_body.
    """

@final
class Signer:
    """The DKIM keys of one domain, parsed once."""

    def __new__(
        cls,
        domain: str,
        keys: Sequence[tuple[str, str, bytes]],  # selector, "rsa" | "ed25519", PKCS#8 DER
    ) -> Signer: ...  # raises ValueError
    @property
    def domain(self) -> str: ...

def sign(jobs: Sequence[tuple[bytes, Signer, int]]) -> list[bytes | ItemError]:
    """Message, signer, t= in seconds -> the message with one DKIM-Signature per key in front.

    The same arguments make the same bytes.

    Codes: bad_message (no header section), bad_time, sign_failed.
    """

# Fields of sealwax.model.delivery.Delivery in order, with Position and Wait as plain tuples.
_DeliveryFields: TypeAlias = tuple[Any, ...]

def encode_deliveries(jobs: Sequence[tuple[_DeliveryFields, bytes]]) -> list[bytes]:
    """Fields and the event row that the record carries (empty for none) -> versioned record.

    Raises TypeError, ValueError or OverflowError where a field is not of its type; numbers are
    0 to 2**64 - 1.
    """

def decode_deliveries(values: Sequence[bytes]) -> list[_DeliveryFields | ItemError]:
    """The reverse, without the row; any bytes are safe to give.

    Codes: unreadable, unknown_version.
    """

def delivery_row(value: bytes) -> bytes:
    """Cuts the event row out, without decoding the rest. Raises ValueError."""
