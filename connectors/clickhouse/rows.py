"""Rows on their way into ClickHouse: cut out of records, inserted as the JSON that they are."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from connectors.log.port import Record
from connectors.records import row_of
from sealwax.errors import UnreadableRecordError

# Times come as ISO text; a batch is one block, parsed in the thread that inserts it.
_INSERT_SETTINGS = {
    "date_time_input_format": "best_effort",
    "input_format_parallel_parsing": 0,
    "max_threads": 1,
    "max_insert_threads": 1,
}
# What ClickHouse says of a line that it cannot take; anything else is not the line's fault.
_BAD_LINE = frozenset({6, 25, 26, 27, 38, 41, 53, 69, 70, 72, 117, 130, 349, 376, 469, 691})
_CODE = re.compile(r"Code: (\d+)")

logger = structlog.get_logger(__name__)


class Line(NamedTuple):
    """A row as JSON with its place in the log, and the record that it came with."""

    record: Record
    json: bytes


Bury = Callable[[Record, str, str], None]


def line_of(record: Record, bury: Bury) -> Line | None:
    """The row of a record; None where it carries none or cannot be read (which is buried)."""
    try:
        row = row_of(record)
    except UnreadableRecordError as error:
        bury(record, error.reason, error.detail)
        return None
    if not row:
        return None
    row = row.strip()
    if not (row.startswith(b"{") and row.endswith(b"}")) or len(row) <= 2 or b"\n" in row:  # noqa: PLR2004 - an empty object
        bury(record, "not_a_row", "the value is no JSON object on one line")
        return None
    place = b',"_topic":"%b","_partition":%d,"_offset":%d}' % (
        record.topic.encode(),
        record.partition,
        record.offset,
    )
    return Line(record, row[:-1] + place)


def insert(client: Client, lines: Sequence[Line], bury: Bury) -> None:
    """Inserts all lines at once; one that ClickHouse refuses is found by halving and buried.

    Raises:
        DatabaseError: ClickHouse failed for another reason than a line.
    """
    if not lines:
        return
    block = b"\n".join(line.json for line in lines)
    try:
        client.raw_insert(
            "sealwax.events", insert_block=block, fmt="JSONEachRow", settings=_INSERT_SETTINGS
        )
    except DatabaseError as error:
        code = _CODE.search(str(error))
        if code is None or int(code[1]) not in _BAD_LINE:
            raise
        if len(lines) == 1:
            logger.warning("row refused", topic=lines[0].record.topic, error=str(error)[:300])
            bury(lines[0].record, "row_refused", str(error)[:500])
            return
        half = len(lines) // 2
        insert(client, lines[:half], bury)
        insert(client, lines[half:], bury)
