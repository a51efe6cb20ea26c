"""Claims: who may do what must be done once (R8)."""

from dataclasses import dataclass
from enum import StrEnum

from sealwax.model.delivery import Position

# What an Idempotency-Key may have: printable ASCII, so that it is the same text everywhere.
MOST_KEY_CHARACTERS = 256
_PRINTABLE = frozenset(range(0x20, 0x7F))


class State(StrEnum):
    """How far the owner of a claim came."""

    PENDING = "pending"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim as it is stored.

    Attributes:
        payload_hash: SHA-256 of the request's bytes; empty where the claim's name says it all.
        email_ids: Ids of the request's emails, by their index in it.
        answer: The body that the API answered; None where `email_ids` says it.
        source: The requested record that owns it; None where the API does.
        state: Whether its request is known to be in the log.
        claimed_at_ms: When it was taken last; 0 once its owner gave it up.
        expires_at_ms: It counts for nothing from then on.
    """

    payload_hash: bytes
    email_ids: tuple[str, ...]
    answer: bytes | None
    source: Position | None
    state: State
    claimed_at_ms: int
    expires_at_ms: int


def is_idempotency_key(key: bytes) -> bool:
    """Whether it is 1 to 256 characters of printable ASCII."""
    return 0 < len(key) <= MOST_KEY_CHARACTERS and _PRINTABLE.issuperset(key)


def key_claim(tenant_id: str, key: str) -> str:
    """The name of the claim of a tenant's Idempotency-Key; tenants' ids have no colon."""
    return f"idem:{tenant_id}:{key}"


def email_claim(email_id: str) -> str:
    """The name of the claim to render an email."""
    return f"id:{email_id}"
