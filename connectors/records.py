"""The one encoder and decoder of what flows write to topics: deliveries, and rows of events.

A record of `email.events` is the ClickHouse row itself, as JSON. A ready or retry record is a
versioned binary made by the Rust core; a retry record carries its row as a part of its own, which
is cut out without decoding the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import orjson

from connectors.log.port import Record
from sealwax import native
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Delivery, Position
from sealwax.model.event import Cause, Kind, Wait

Row = Mapping[str, Any]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: the same in every process and every version."""
    return crc32(key) % partitions


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
    """The row of a record of `email.events` or `email.retry.*`; empty where it carries none.

    Raises:
        UnreadableRecordError: The record is neither.
    """
    value = record.value or b""
    if not record.topic.startswith("email.retry."):
        return value
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
