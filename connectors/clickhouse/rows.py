"""Rows on their way into ClickHouse: cut out of records, inserted as the JSON that they are."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from connectors.clickhouse.deadline import deadline
from connectors.clickhouse.patience import Patience
from connectors.log.port import Record
from connectors.log.suspects import CRASHED, CRASHED_DETAIL, Suspects
from connectors.records import row_of
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position

# Times come as ISO text; a batch is one block, parsed in the thread that inserts it, with rows of
# any number of weeks: the limit of 100 would stop the flow for good, as no line is at fault. When
# an insert returns, its rows are stored, on a majority of replicas where there are some. What a
# server remembers of earlier inserts may outlive their rows, so it must not drop these (measured).
_INSERT_SETTINGS = {
    "date_time_input_format": "best_effort",
    "input_format_parallel_parsing": 0,
    "max_threads": 1,
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 0,
    "async_insert": 0,
    "insert_deduplicate": 0,
    "insert_quorum": "auto",
    "distributed_foreground_insert": 1,
}
# What ClickHouse says of a line that it cannot take, found by feeding it damaged rows; anything
# else (no memory, no disk, too many parts) is not the line's fault, and no reason to bury it.
_BAD_LINE = frozenset(
    {
        6, 25, 26, 27, 38, 41, 53, 69, 70, 72, 117, 130, 131, 190, 306, 349, 376, 467, 469, 563,
        636, 691,
    }
)  # fmt: skip
# What inserts and repairs say of themselves, so that they are known from another process.
_MARK = "sealwax analytics in"
_REPAIR = "repair"
_CODE = re.compile(r"Code: (\d+)")

logger = structlog.get_logger(__name__)


class Line(NamedTuple):
    """A row as JSON with its place in the log, and the record that it came with."""

    record: Record
    json: bytes


Bury = Callable[[Record, str, str], None]


def line_of(record: Record, bury: Bury, suspects: Suspects | None = None) -> Line | None:
    """The row of a record.

    None where it carries none, and where it cannot be read or kills the process: it is buried.
    """
    if suspects is not None and suspects.convicted(position_of(record)):
        bury(record, CRASHED, CRASHED_DETAIL)
        return None
    try:
        row = row_of(record)
    except UnreadableRecordError as error:
        bury(record, error.reason, error.detail)
        return None
    if not row:
        return None
    row = row.strip()
    if not _is_one_object(row):
        bury(record, "not_a_row", "the value is no JSON object on one line of UTF-8")
        return None
    place = b',"_topic":"%b","_partition":%d,"_offset":%d}' % (
        record.topic.encode(),
        record.partition,
        record.offset,
    )
    return Line(record, row[:-1] + place)


def position_of(record: Record) -> Position:
    """Where a record stands."""
    return Position(record.topic, record.partition, record.offset)


def insert(client: Client, lines: Sequence[Line], bury: Bury, patience: Patience) -> None:
    """Inserts all lines at once; one that ClickHouse refuses is found by halving and buried.

    One that takes longer than its time ends the process.

    Raises:
        StoppedWhileAwayError: The process is not the owner of the rows; nothing more is stored.
        ClickHouseError: ClickHouse is away or failed for another reason than a line; any of the
            lines may be stored, or be stored a moment later: see stop_inserts.
    """
    if not lines:
        return
    block = b"\n".join(line.json for line in lines)
    mark = _mark_of_insert(client, {line.record.partition for line in lines})
    settings = {**_INSERT_SETTINGS, "log_comment": mark}
    # The client sends bytes once more where a connection breaks, also when they were stored already
    # (tests/unit/connectors/test_clickhouse_server.py); a stream it sends once.
    once = (part for part in (block,))
    patience.for_owner()
    try:
        with deadline(patience.insert, "an insert into ClickHouse"):
            client.raw_insert("events", insert_block=once, fmt="JSONEachRow", settings=settings)
    except DatabaseError as error:
        if not _is_fault_of_a_line(error):
            raise
        if len(lines) == 1:
            logger.warning("row refused", topic=lines[0].record.topic, error=str(error)[:300])
            bury(lines[0].record, "row_refused", str(error)[:500])
            return
        half = len(lines) // 2
        insert(client, lines[:half], bury, patience)
        insert(client, lines[half:], bury, patience)


def stop_inserts(client: Client, numbers: Iterable[int], on_cluster: str = "") -> None:
    """Ends inserts of rows of these partition numbers that still run, and repairs of the roll-up.

    A server goes on with a statement whose client is gone: what it stores after a look at what is
    stored would be there twice.

    Raises:
        ClickHouseError: One goes on all the same.
    """
    marks = [_REPAIR, *map(str, sorted(numbers))]
    these = (
        f"startsWith(Settings['log_comment'], '{_MARK} {client.database} ')"
        f" AND hasAny(splitByChar('.', Settings['log_comment']), {marks})"
    )
    client.command(f"KILL QUERY{on_cluster} WHERE {these} SYNC")
    running = f"SELECT count() FROM system.processes WHERE {these}"  # noqa: S608 - our own words
    if client.query(running).result_rows[0][0]:
        raise OperationalError("a statement of before still runs and does not end")


def mark_of_repair(client: Client) -> str:
    """The mark of a statement that changes the roll-up."""
    return f"{_MARK} {client.database} .{_REPAIR}."


def _mark_of_insert(client: Client, numbers: Iterable[int]) -> str:
    """It says from which partitions the rows are."""
    return f"{_MARK} {client.database} .{'.'.join(map(str, sorted(numbers)))}."


def _is_one_object(row: bytes) -> bool:
    """A look at the frame only: ClickHouse parses the inside, once, where it is needed."""
    try:
        str(row, "utf-8")  # ClickHouse would store other bytes, and no answer could hold them
    except UnicodeDecodeError:
        return False
    return row.startswith(b"{") and row.endswith(b"}") and row != b"{}" and b"\n" not in row


def _is_fault_of_a_line(error: DatabaseError) -> bool:
    text = str(error)
    code = _CODE.search(text)
    if code is None:
        # The text quotes the start of the line, cut within a character: it cannot be decoded, and
        # the client reports that instead. Nothing else that ClickHouse says quotes our bytes.
        return "codec can't decode" in text
    return int(code[1]) in _BAD_LINE or "while parsing JSONEachRow" in text
