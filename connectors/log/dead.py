"""Records that cannot be processed: kept in `email.dead`, with the reason (R16)."""

from connectors.log.port import Entry, Headers, Record
from connectors.log.settle import source_header
from sealwax.model.delivery import Position

_SECRET = "api-key"  # noqa: S105 - the header's name, not a key


def dead_entry(record: Record, reason: str, detail: str) -> Entry:
    """The record of `email.dead` for one that could not be processed; the value is unchanged.

    Args:
        record: What was read.
        reason: A short stable word.
        detail: A sentence for the operator.
    """
    position = Position(record.topic, record.partition, record.offset)
    headers: Headers = (
        *((k, b"redacted" if k == _SECRET else v) for k, v in record.headers if k != "src"),
        ("reason", reason.encode()),
        ("detail", detail.encode()),
        ("source-topic", record.topic.encode()),
        ("source-partition", str(record.partition).encode()),
        ("source-offset", str(record.offset).encode()),
        ("src", source_header(position)),
    )
    return Entry(record.partition, record.key, record.value, headers)


def header(headers: Headers, name: str) -> bytes | None:
    """The first header of that name."""
    return next((value for key, value in headers if key == name), None)
