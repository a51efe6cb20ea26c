"""The one encoder and decoder of what flows write to topics: deliveries, and rows of events.

A record of `email.events` is the ClickHouse row itself, as JSON. A ready or retry record is a
versioned binary made by the Rust core; a retry record carries its row as a part of its own, which
is cut out without decoding the rest. A dead record that was a message carries its row in a header.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import orjson

from connectors.log.dead import row_of_dead
from connectors.log.port import Record
from connectors.log.replay import REPLAY_OF
from sealwax import native
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Delivery, Position
from sealwax.model.email_id import accepted_at_ms
from sealwax.model.event import Cause, Kind, Wait
from sealwax.model.topics import DEAD, EVENTS, RETRY, stream_of

Row = Mapping[str, Any]

# The topics whose records carry rows of events.
WITH_ROWS = (EVENTS, *RETRY, DEAD)
# Of a ready or retry record: whose message it is, for whoever may not read its value.
_MESSAGE = "message"
_MOST_INDEX = 0xFFFF  # what the column holds


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: the same in every process and every version."""
    return crc32(key) % partitions


def ready_place(delivery: Delivery, large: Mapping[str, int], partitions: int) -> tuple[int, bytes]:
    """The partition and the key of a ready record.

    The key is the domain, of a large one with `#` and a number made of the recipient. Such keys are
    in partitions in turn: by their CRC 12 keys reach 8 to 10 of 12 partitions.

    Args:
        delivery: The message.
        large: How many keys a domain has, where it has more than one.
        partitions: How many the topic has.
    """
    domain = delivery.rcpt_domain.encode()
    first = partition_of(domain, partitions)
    keys = large.get(delivery.rcpt_domain)
    if keys is None:
        return first, domain
    number = crc32(delivery.rcpt.encode()) % keys
    return (first + number) % partitions, b"%s#%d" % (domain, number)


def iso(at_ms: int) -> str:
    """A time as rows hold it. ClickHouse reads a JSON integer as seconds, so it is text."""
    stamp = datetime.fromtimestamp(at_ms // 1000, tz=UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def encode_deliveries(deliveries: Sequence[tuple[Delivery, bytes]]) -> list[bytes]:
    """Deliveries, each with the row that its record carries (empty for none)."""
    return native.encode_deliveries([(_fields(delivery), row) for delivery, row in deliveries])


def decode_deliveries(values: Sequence[bytes]) -> list[Delivery | UnreadableRecordError]:
    """The reverse, without the rows; an unreadable record yields the error that says why."""
    return [
        UnreadableRecordError(item.code, item.message)
        if isinstance(item, native.ItemError)
        else _delivery(item)
        for item in native.decode_deliveries(values)
    ]


def row_of(record: Record) -> bytes:
    """The row of a record that can carry one; empty where it carries none.

    Raises:
        UnreadableRecordError: A record of a delay topic that is none.
    """
    if record.topic == DEAD:
        return row_of_dead(record)
    value = record.value or b""
    if not record.topic.startswith("email.retry."):
        return value
    if any(name == REPLAY_OF for name, _ in record.headers):
        return b""  # it stands at the record that was put aside
    try:
        return native.delivery_row(value)
    except ValueError as error:
        raise UnreadableRecordError("unreadable", str(error)) from error


def event_row(kind: Kind, delivery: Delivery, *, at_ms: int, facts: Row) -> bytes:
    """The row of something that happened to a delivery.

    Args:
        kind: What happened.
        delivery: To whom; its waits become the row's.
        at_ms: When, milliseconds since 1970.
        facts: Further columns by name; absent ones take their default.
    """
    row = {
        "tenant": delivery.tenant_id,
        "email_id": delivery.email_id,
        "at": iso(at_ms),
        "kind": kind,
        "stream": delivery.stream,
        "rcpt": delivery.rcpt,
        "rcpt_index": delivery.rcpt_index,
        "rcpt_domain": delivery.rcpt_domain,
        "template": delivery.template,
        "tags": dict(delivery.tags),
        "attempt": delivery.attempt,
        "dkim_domain": delivery.dkim_domain,
        "elapsed_ms": max(0, at_ms - delivery.accepted_at_ms),
        "size": len(delivery.message),
        "request_topic": delivery.request.topic,
        "request_partition": delivery.request.partition,
        "request_offset": delivery.request.offset,
        **wait_columns(delivery.waits),
        **facts,
    }
    return orjson.dumps(row)


def message_header(delivery: Delivery) -> tuple[str, bytes]:
    """The header that says whose message a ready or retry record is."""
    ident = f"{delivery.tenant_id}/{delivery.email_id}/{delivery.rcpt_index}/{delivery.rcpt}"
    return _MESSAGE, ident.encode()


def failed_row(record: Record, reason: str, detail: str, *, at_ms: int) -> bytes:
    """The row of a message that cannot be processed; empty where the record says not whose it is.

    Args:
        record: A ready or retry record; its value is not read.
        reason: A short stable word.
        detail: A sentence.
        at_ms: When, milliseconds since 1970.
    """
    named = next((value for name, value in record.headers if name == _MESSAGE), b"")
    try:
        tenant_id, email_id, rcpt_index, rcpt = named.decode().split("/", 3)
        index, elapsed_ms = int(rcpt_index), at_ms - accepted_at_ms(email_id)
    except ValueError:
        return b""
    if not 0 <= index <= _MOST_INDEX:
        return b""
    row = {
        "tenant": tenant_id,
        "email_id": email_id,
        "at": iso(at_ms),
        "kind": Kind.FAILED,
        "stream": stream_of(record.topic),
        "rcpt": rcpt,
        "rcpt_index": index,
        "rcpt_domain": rcpt.rpartition("@")[2],
        "elapsed_ms": max(0, elapsed_ms),
        "class": reason,
        "alert": True,
        "detail": detail,
    }
    return orjson.dumps(row)


def wait_columns(waits: Iterable[Wait]) -> dict[str, list[Any]]:
    """The nested column of waits: one array a field."""
    waits = [wait for wait in waits if wait.ms > 0]
    return {
        "waits.cause": [wait.cause for wait in waits],
        "waits.rule": [wait.rule for wait in waits],
        "waits.ms": [wait.ms for wait in waits],
    }


def _fields(delivery: Delivery) -> native.DeliveryFields:
    return (
        delivery.email_id,
        delivery.rcpt_index,
        delivery.tenant_id,
        delivery.stream,
        delivery.reverse_path,
        delivery.rcpt,
        delivery.rcpt_domain,
        delivery.accepted_at_ms,
        delivery.give_up_at_ms,
        delivery.attempt,
        delivery.due_ms,
        delivery.not_before_ms,
        delivery.source_ip,
        delivery.dkim_domain,
        delivery.template,
        delivery.tags,
        tuple(delivery.request),
        delivery.since_ms,
        tuple((wait.cause.value, wait.rule, wait.ms) for wait in delivery.waits),
        delivery.message,
    )


def _delivery(fields: native.DeliveryFields) -> Delivery:
    request, since_ms, waits, message = fields[-4:]
    known = tuple(Wait(Cause(cause), rule, ms) for cause, rule, ms in waits)
    values: tuple[Any, ...] = (*fields[:-4], Position(*request), since_ms, known, message)
    return Delivery(*values)
