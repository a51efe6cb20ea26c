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
    def code(self) -> str: ...  # stable word: missing_variable, template_syntax, bad_header, ...
    @property
    def field(self) -> str: ...  # subject, html, text, headers, attachments[2], ... or empty
    @property
    def message(self) -> str: ...  # a sentence for the sender

_Template: TypeAlias = tuple[
    str | None, str | None, str | None, bytes
]  # subject, html, text, data as JSON
_Rendered: TypeAlias = tuple[str | None, str | None, str | None]

def render(jobs: Sequence[_Template]) -> list[_Rendered | ItemError]:
    """Renders Handlebars in strict mode; html is escaped, subject and text are not."""

@final
class Draft:
    """What a message is composed from; one message comes out per Message-ID."""

    def __new__(
        cls,
        *,
        email_id: str,  # gives X-Sealwax-Id and, with the index of the copy, the boundaries
        date_ms: int,  # the Date header
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
    """Builds the messages: CRLF lines, 7 bit, one list entry per Message-ID, unsigned."""

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
    """Message, signer, t= in seconds -> the message with one DKIM-Signature per key in front."""

# Fields of sealwax.model.delivery.Delivery in order, with Position and Wait as plain tuples.
_DeliveryFields: TypeAlias = tuple[Any, ...]

def encode_deliveries(jobs: Sequence[tuple[_DeliveryFields, bytes]]) -> list[bytes]:
    """Fields and the event row that the record carries (empty for none) -> versioned record."""

def decode_deliveries(values: Sequence[bytes]) -> list[_DeliveryFields | ItemError]:
    """The reverse, without the row."""

def delivery_row(value: bytes) -> bytes:
    """Cuts the event row out, without decoding the rest. Raises ValueError."""
