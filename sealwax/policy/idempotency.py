"""Once per request (R8): what follows from a claim that is there, and what it becomes.

A claim has two kinds of owners. The API takes one by an Idempotency-Key before it appends, and
again with the same ids where it cannot know whether its append happened. Render takes one by an
email's id, or by the key of a foreign producer, for the position of the record that it renders.
"""

from dataclasses import dataclass, replace

from sealwax.model.claim import Claim, State
from sealwax.model.delivery import Position

# An accept takes milliseconds. One that is older than this has died, or the disk hangs; then both
# append, with the same ids, and render takes the first.
CONCURRENT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Append:
    """The request is to be appended, with these ids."""

    email_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The request was accepted before; `answer` is None where the ids say it."""

    email_ids: tuple[str, ...]
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class Concurrent:
    """The same request is being accepted right now."""


@dataclass(frozen=True, slots=True)
class OtherPayload:
    """The key was used with another payload."""


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """Nobody holds the claim."""


@dataclass(frozen=True, slots=True)
class Render:
    """The record is to be rendered, with this id."""

    email_id: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another record has been or will be rendered instead: the one at `of`, with this id."""

    of: Position
    email_id: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """The API took the key, for an email with this id: whoever claims that id first renders it."""

    email_id: str


Looked = Answered | Concurrent | OtherPayload | Unclaimed
Taken = Append | Answered | Concurrent | OtherPayload
Fate = Render | Duplicate | Adopt | OtherPayload


@dataclass(frozen=True, slots=True)
class Take:
    """The API wants to append a request.

    Attributes:
        name: Of the claim.
        payload_hash: SHA-256 of the request's bytes.
        email_ids: The ids that its emails get, where it was never claimed before.
        keep_ms: How long the claim lives.
    """

    name: str
    payload_hash: bytes
    email_ids: tuple[str, ...]
    keep_ms: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The API's append is durable; it answers with `answer` (None: the ids say it)."""

    name: str
    email_ids: tuple[str, ...]
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The API's append failed, in part or it is not known how: a repeat may come at once."""

    name: str
    email_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakeForRecord:
    """Render wants to render a record.

    Attributes:
        name: Of the claim.
        payload_hash: SHA-256 of the record's value, for a producer's key; empty for an email's id.
        email_id: The record's own.
        source: Its position.
        stamp_ms: When it was appended.
        keep_ms: How long after that the claim lives.
    """

    name: str
    payload_hash: bytes
    email_id: str
    source: Position
    stamp_ms: int
    keep_ms: int


def look(found: Claim | None, payload_hash: bytes, now_ms: int) -> Looked:
    """What a repeat of a request has to know; changes nothing."""
    if found is None or now_ms >= found.expires_at_ms:
        return Unclaimed()
    if found.payload_hash != payload_hash:
        return OtherPayload()
    if found.state is State.DONE:
        return Answered(found.email_ids, found.answer)
    # Before the claim, too: the clocks of two processes differ, and one waits for the other's lock.
    if abs(now_ms - found.claimed_at_ms) < CONCURRENT_MS:
        return Concurrent()
    return Unclaimed()


def take(found: Claim | None, wanted: Take, now_ms: int) -> tuple[Taken, Claim | None]:
    """Whether to append, and the claim from now on.

    What was claimed and never finished is appended again with the ids that it has, and lives no
    longer for it: so all its records are stamped before the claim of its email's id expires.
    """
    looked = look(found, wanted.payload_hash, now_ms)
    if not isinstance(looked, Unclaimed):
        return looked, found
    if found is not None and now_ms < found.expires_at_ms:
        return Append(found.email_ids), replace(found, claimed_at_ms=now_ms)
    fresh = Claim(
        payload_hash=wanted.payload_hash,
        email_ids=wanted.email_ids,
        answer=None,
        source=None,
        state=State.PENDING,
        claimed_at_ms=now_ms,
        expires_at_ms=now_ms + wanted.keep_ms,
    )
    return Append(wanted.email_ids), fresh


def finish(found: Claim | None, done: Finish) -> Claim | None:
    """The claim once its request is in the log; unchanged where it is another's by now."""
    if found is None or not _is_open(found, done.email_ids):
        return found
    return replace(found, state=State.DONE, answer=done.answer)


def give_up(found: Claim | None, given: GiveUp) -> Claim | None:
    """The claim after a failed append: the ids stay, since some of it may be in the log."""
    if found is None or not _is_open(found, given.email_ids):
        return found
    return replace(found, claimed_at_ms=0)


def _is_open(found: Claim, email_ids: tuple[str, ...]) -> bool:
    return found.state is State.PENDING and found.email_ids == email_ids


def take_for_record(found: Claim | None, wanted: TakeForRecord) -> tuple[Fate, Claim | None]:
    """Whether to render a record, and the claim from now on.

    The record that took the claim finds it again after a crash. Any other one that was appended
    within its life is a duplicate.
    """
    if found is None or wanted.stamp_ms >= found.expires_at_ms:
        own = Claim(
            payload_hash=wanted.payload_hash,
            email_ids=(wanted.email_id,),
            answer=None,
            source=wanted.source,
            state=State.DONE,
            claimed_at_ms=wanted.stamp_ms,
            expires_at_ms=wanted.stamp_ms + wanted.keep_ms,
        )
        return Render(wanted.email_id), own
    if found.source == wanted.source:
        return Render(wanted.email_id), found
    begun_ms = found.expires_at_ms - wanted.keep_ms
    if wanted.stamp_ms + wanted.keep_ms <= begun_ms:
        # Its own claim expired and went to a later request while render was down: no duplicate.
        return Render(wanted.email_id), found
    if found.payload_hash != wanted.payload_hash:
        return OtherPayload(), found
    if found.source is None:
        return Adopt(found.email_ids[0]), found
    return Duplicate(found.source, found.email_ids[0]), found
