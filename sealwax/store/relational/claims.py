"""Claims: what must be done once, and by whom (R8)."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from sealwax.model.claim import Claim, State
from sealwax.model.delivery import Position
from sealwax.policy import idempotency
from sealwax.policy.idempotency import Fate, Finish, GiveUp, Looked, Take, TakeForRecord, Taken
from sealwax.store.relational.tables import CLAIMS

Write = Take | Finish | GiveUp

# Below the number of variables that every SQLite takes in a statement.
_NAMES = 500
# The rows' locks order writers on PostgreSQL; on SQLite the transaction's own lock does.
_FOUND = (
    select(CLAIMS)
    .where(CLAIMS.c.claim.in_(bindparam("names", expanding=True)))
    .order_by(CLAIMS.c.claim)
    .with_for_update()
)
_CHANGED = (
    update(CLAIMS)
    .where(CLAIMS.c.claim == bindparam("name"))
    .values(
        {
            column: bindparam(f"new_{column}")
            for column in (
                "payload_hash", "email_ids", "answer", "source", "state", "claimed_at_ms",
                "expires_at_ms",
            )
        }
    )
)  # fmt: skip


def look(connection: Connection, name: str, payload_hash: bytes, now_ms: int) -> Looked:
    """What a repeat of a request has to know."""
    return idempotency.look(_load(connection, [name]).get(name), payload_hash, now_ms)


def write(connection: Connection, writes: Sequence[Write], now_ms: int) -> list[Taken | None]:
    """Does them in order; the answer to each Take, None for the others."""
    before = _load(connection, [write.name for write in writes])
    after: dict[str, Claim | None] = dict(before)
    answers: list[Taken | None] = []
    for wanted in writes:
        found = after.get(wanted.name)
        answer: Taken | None = None
        match wanted:
            case Take():
                answer, after[wanted.name] = idempotency.take(found, wanted, now_ms)
            case Finish():
                after[wanted.name] = idempotency.finish(found, wanted)
            case GiveUp():
                after[wanted.name] = idempotency.give_up(found, wanted)
        answers.append(answer)
    _save(connection, before, after)
    return answers


def take_for_records(connection: Connection, wanted: Sequence[TakeForRecord]) -> list[Fate]:
    """Claims in order; the fate of each record."""
    before = _load(connection, [one.name for one in wanted])
    after: dict[str, Claim | None] = dict(before)
    fates = []
    for one in wanted:
        fate, after[one.name] = idempotency.take_for_record(after.get(one.name), one)
        fates.append(fate)
    _save(connection, before, after)
    return fates


def delete_expired(connection: Connection, before_ms: int, most: int) -> int:
    """Deletes at most so many claims that expired before then; how many."""
    oldest = (
        select(CLAIMS.c.claim)
        .where(CLAIMS.c.expires_at_ms < before_ms)
        .order_by(CLAIMS.c.expires_at_ms)
        .limit(most)
    )
    return connection.execute(delete(CLAIMS).where(CLAIMS.c.claim.in_(oldest))).rowcount


def _load(connection: Connection, names: Iterable[str]) -> dict[str, Claim]:
    unique = sorted(set(names))
    found: dict[str, Claim] = {}
    for first in range(0, len(unique), _NAMES):
        rows = connection.execute(_FOUND, {"names": unique[first : first + _NAMES]})
        found.update((row.claim, _claim(row)) for row in rows)
    return found


def _save(
    connection: Connection, before: Mapping[str, Claim], after: Mapping[str, Claim | None]
) -> None:
    fresh, changed = [], []
    for name, claim in after.items():
        if claim is None or claim == before.get(name):
            continue
        columns = _columns(claim)
        if name in before:
            changed.append({"name": name, **{f"new_{k}": v for k, v in columns.items()}})
        else:
            fresh.append({"claim": name, **columns})
    if fresh:
        connection.execute(insert(CLAIMS), fresh)
    if changed:
        connection.execute(_CHANGED, changed)


def _columns(claim: Claim) -> dict[str, object]:
    source = claim.source
    return {
        "payload_hash": claim.payload_hash,
        "email_ids": " ".join(claim.email_ids),
        "answer": claim.answer,
        "source": source and f"{source.topic}/{source.partition}/{source.offset}",
        "state": claim.state.value,
        "claimed_at_ms": claim.claimed_at_ms,
        "expires_at_ms": claim.expires_at_ms,
    }


def _claim(row: Row[tuple[object, ...]]) -> Claim:
    return Claim(
        payload_hash=row.payload_hash,
        email_ids=tuple(row.email_ids.split()),
        answer=row.answer,
        source=None if row.source is None else _position(row.source),
        state=State(row.state),
        claimed_at_ms=row.claimed_at_ms,
        expires_at_ms=row.expires_at_ms,
    )


def _position(text: str) -> Position:
    topic, partition, offset = text.rsplit("/", 2)
    return Position(topic, int(partition), int(offset))
