"""Records that cannot be processed: kept in `email.dead`, with the reason (R16).

The headers of a dead record are those that it had, and behind them ours, from `reason` on. A
foreign producer may have named a header like one of ours, so ours are looked for from the end.

A broker's limit is of a batch as it is compressed, and the client's of a record as it is: what came
into the log may be too large to go out again. So key and headers are cut, and `cut` says how.
"""

import re
from dataclasses import dataclass

from connectors.log.body import INLINE_BYTES, BodyReference, read_body, write_body
from connectors.log.fences import FENCE, WRITER
from connectors.log.port import Entry, Headers, Log, Record
from connectors.log.settle import source_header
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position
from sealwax.model.topics import DEAD

API_KEY = "api-key"
# A key that stands where it should not, such as `Authorization: Bearer sw_...`.
_KEY = re.compile(rb"sw_[0-9A-Za-z]{8}_[0-9A-Za-z]+")
_REDACTED = b"redacted"
_FIRST = "reason"
_BODY = "body"
_CUT = "cut"
_ROW = "row"
# What a flow's outcome says of itself in any topic: a dead record says its own, behind what it had.
_OF_OUTCOMES = frozenset({"src", FENCE, WRITER})
_WAS = "was-"
# Of key and headers together; a header's framing included, so that they are not too many either.
_AROUND_BYTES = 64 * 1024
_FRAMING_BYTES = 16
_MOST_NAMED = 10
_NAME_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Dead:
    """A record of `email.dead` as it was read.

    Attributes:
        at: Where it stands in `email.dead`.
        stamp_ms: When it was put there, milliseconds since 1970.
        reason: A short stable word.
        detail: A sentence.
        flow: The flow that could not process it.
        tenant_id: Its owner, or empty where that is not certain.
        source: Where it stood before.
        key: Its key there.
        headers: Its headers there, without the API key; see `renamed`.
        cut: What of key and headers was too large to keep, and how large; mostly empty.
        inline: Its value, where it was small enough or had none.
        body: Where its value is otherwise.
    """

    at: Position
    stamp_ms: int
    reason: str
    detail: str
    flow: str
    tenant_id: str
    source: Position
    key: bytes | None
    headers: Headers
    cut: str
    inline: bytes | None
    body: BodyReference | None

    def value(self, log: Log) -> bytes | None:
        """Its value as it was read. Raises BodyLostError."""
        return self.inline if self.body is None else read_body(log, self.body)


def dead_entry(
    record: Record, reason: str, detail: str, *, flow: str, tenant_id: str = "", row: bytes = b""
) -> Entry:
    """The record of `email.dead` for one that could not be processed; the value is unchanged.

    Its size is bounded where the value is a reference.

    Args:
        record: What was read.
        reason: A short stable word.
        detail: A sentence for the operator.
        flow: The flow that could not process it.
        tenant_id: Its owner, where that is certain.
        row: The row of what happened, where no other record carries it.
    """
    position = Position(record.topic, record.partition, record.offset)
    key, kept, cut = _cut(record)
    headers: Headers = (
        *(
            (k, _REDACTED if k.lower() == API_KEY else _KEY.sub(_REDACTED, v))
            for k, v in renamed(kept, _OF_OUTCOMES)
        ),
        (_FIRST, reason.encode()),
        # A detail may quote the record; what is not Unicode there must not keep it out.
        ("detail", detail.encode(errors="replace")),
        ("flow", flow.encode()),
        ("owner", tenant_id.encode(errors="replace")),
        ("source-topic", record.topic.encode()),
        ("source-partition", str(record.partition).encode()),
        ("source-offset", str(record.offset).encode()),
        ("src", source_header(position)),
        *(((_CUT, cut.encode()),) if cut else ()),
        *(((_ROW, row),) if row else ()),
    )
    return Entry(record.partition, key, record.value, headers)


def renamed(headers: Headers, names: frozenset[str]) -> Headers:
    """The headers with `was-` before those names, so that nobody believes them any more."""
    return tuple((_WAS + name if name in names else name, value) for name, value in headers)


def _cut(record: Record) -> tuple[bytes | None, Headers, str]:
    """Key and headers as far as they fit, the last ones first, which are ours; and what did not."""
    if record.unreadable:
        return None, (), "all of it, since it cannot be read"
    room = _AROUND_BYTES
    kept: list[tuple[str, bytes]] = []
    cut: list[str] = []
    for name, value in reversed(record.headers):
        size = len(name.encode()) + len(value) + _FRAMING_BYTES
        if size > room:
            cut.append(f"header {name[:_NAME_CHARACTERS]!a} with {len(value):,} bytes")
            continue
        room -= size
        kept.append((name, value))
    key = record.key
    if key is not None and len(key) > room:
        cut.append(f"the key with {len(key):,} bytes")
        key = None
    cut.reverse()
    more = [f"{len(cut) - _MOST_NAMED:,} more"] if len(cut) > _MOST_NAMED else []
    return key, tuple(reversed(kept)), ", ".join([*cut[:_MOST_NAMED], *more])


def is_large(topic: str, entry: Entry) -> bool:
    """Whether the value of an entry goes to `email.body`."""
    return topic == DEAD and entry.value is not None and len(entry.value) > INLINE_BYTES


def by_reference(entry: Entry, reference: BodyReference) -> Entry:
    """The entry with its value replaced by where it is."""
    return entry._replace(value=b"", headers=(*entry.headers, (_BODY, reference.encode())))


def append_dead(log: Log, entry: Entry) -> None:
    """Appends a dead record, its value before it where that is large; raises what the log does."""
    if is_large(DEAD, entry):
        entry = by_reference(entry, write_body(log, entry.partition, entry.value or b""))
    log.append_wait(DEAD, [entry])


def row_of_dead(record: Record) -> bytes:
    """The row that a record of `email.dead` carries; empty where it carries none."""
    for name, value in reversed(record.headers):
        if name == _ROW:
            return value
        if name == _FIRST:
            break  # what stands before it is the sender's
    return b""


def read_dead(record: Record) -> Dead:
    """What a record of `email.dead` says.

    Raises:
        UnreadableRecordError: It was not put there by a flow.
    """
    names = [name for name, _ in record.headers]
    if _FIRST not in names:
        raise UnreadableRecordError("not_dead", "it has no `reason`, so no flow put it there")
    first = len(names) - 1 - names[::-1].index(_FIRST)
    ours = {name: value.decode("utf-8", "replace") for name, value in record.headers[first:]}
    try:
        source = Position(
            ours["source-topic"], int(ours["source-partition"]), int(ours["source-offset"])
        )
    except (KeyError, ValueError) as error:
        detail = "it does not say where it stood before, so no flow put it there"
        raise UnreadableRecordError("not_dead", detail) from error
    return Dead(
        at=Position(record.topic, record.partition, record.offset),
        stamp_ms=record.stamp_ms,
        reason=ours[_FIRST],
        detail=ours.get("detail", ""),
        flow=ours.get("flow", ""),
        tenant_id=ours.get("owner", ""),
        source=source,
        key=record.key,
        headers=record.headers[:first],
        cut=ours.get(_CUT, ""),
        inline=record.value,
        body=BodyReference.decode(ours[_BODY].encode()) if _BODY in ours else None,
    )


def header(headers: Headers, name: str) -> bytes | None:
    """The first header of that name."""
    return next((value for key, value in headers if key == name), None)
