"""What a start finds out about the last run: which rows of its last inserts are stored."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.deadline import deadline
from connectors.clickhouse.patience import Patience, at_start
from connectors.clickhouse.ranges import FencesOf, Range, range_of
from connectors.clickhouse.roll_up import repair_roll_up
from connectors.clickhouse.rows import Bury, Line, insert, line_of, position_of, stop_inserts
from connectors.log.port import Log, Record, TopicPartition
from connectors.log.suspects import Suspects
from sealwax.model.delivery import Position
from sealwax.store.analytics.cluster import cluster_of

_STORED = """
SELECT _offset FROM events
WHERE _topic = {topic:String} AND _partition = {partition:UInt16}
  AND _offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_HOURS = """
SELECT DISTINCT toUnixTimestamp(toStartOfHour(at)) FROM events
WHERE _topic = {topic:String} AND _partition = {partition:UInt16}
  AND _offset BETWEEN {first:UInt64} AND {last:UInt64}
"""

logger = structlog.get_logger(__name__)


def repair(  # noqa: PLR0913 - what a start has at hand
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    bury: Burial,
    patience: Patience,
    fences: FencesOf,
    *,
    suspects: Suspects | None = None,
) -> dict[TopicPartition, int]:
    """Makes events and roll-ups hold exactly what the committed ranges hold.

    The last committed range of a partition is uncertain: an insert is atomic per ClickHouse
    partition and per table only. Rows that are missing are inserted from the log, and hours whose
    roll-up differs are computed anew and swapped in. Inserts and repairs of a process that died may
    still run on a server, and are ended before.

    Returns:
        Where to read on in each partition.
    """
    if suspects is not None:
        _begin(log, sources, suspects)

    committed, starts = log.committed_all(GROUP, sources), log.start_offsets(sources)
    ranges = {tp: range_of(at) if at else Range(starts[tp], None) for tp, at in committed.items()}

    with deadline(patience.whole, "the repair of the last inserts"):
        # Read once, however often it is tried: fences are passed once.
        records = {
            tp: [one for one in log.scan(tp, at.first, at.last + 1) if fences[tp].admits(one)]
            for tp, at in ranges.items()
            if at.last is not None
        }
        at_start(lambda: _repair(client, ranges, records, bury, patience, suspects), patience)
        positions = {tp: at.first if at.last is None else at.last + 1 for tp, at in ranges.items()}
        # What is certain now need not be looked at again, and what was buried is buried once.
        certain = {tp: Range(at, None, fences[tp].before(at)) for tp, at in positions.items()}
        at_start(patience.for_owner, patience)
        log.commit(GROUP, {tp: one.committed() for tp, one in certain.items()}, durable=True)
    for tp in sources:
        bury.done(tp)
    return positions


def store_missing(
    client: Client,
    lines: Sequence[Line],
    ranges: Mapping[TopicPartition, tuple[int, int]],
    bury: Bury,
    patience: Patience,
) -> None:
    """After an insert that failed: stores what it did not, and sets the roll-up right.

    Args:
        client: ClickHouse.
        lines: All that were to be inserted.
        ranges: First and last offset of the records that they came with.
        bury: Puts a record aside.
        patience: What it waits for.

    Raises:
        ClickHouseError: It is away or fails; call this again.
        StoppedWhileAwayError: The process is not the owner of the rows.
    """
    patience.for_owner()
    cluster = cluster_of(client)
    stop_inserts(client, {tp.partition for tp in ranges}, cluster.on)
    cluster.catch_up(client)
    spans = [_bounds(tp, first, last) for tp, (first, last) in ranges.items()]
    stored = {
        Position(bounds["topic"], bounds["partition"], offset)
        for bounds in spans
        for offset in _stored(client, bounds)
    }
    missing = [line for line in lines if position_of(line.record) not in stored]
    logger.info("an insert failed", rows=len(lines), missing=len(missing))
    insert(client, missing, bury, patience)
    hours = {hour for bounds in spans for hour in _hours(client, bounds)}
    patience.for_owner()
    repair_roll_up(client, sorted(hours))


def _repair(
    client: Client,
    ranges: Mapping[TopicPartition, Range],
    records: Mapping[TopicPartition, Sequence[Record]],
    bury: Burial,
    patience: Patience,
    suspects: Suspects | None,
) -> None:
    """Stores what is missing of the records of uncertain ranges; may be called again."""
    patience.for_owner()
    cluster = cluster_of(client)
    stop_inserts(client, {tp.partition for tp in ranges}, cluster.on)
    cluster.catch_up(client)
    hours: set[int] = set()
    for tp, of_range in records.items():
        first, last, _ = ranges[tp]
        bounds = _bounds(tp, first, last or first)
        stored = _stored(client, bounds)
        missing = [
            record for record in of_range if record.offset not in stored and not bury.stands(record)
        ]
        if missing:
            logger.info("records of the last insert have no row", tp=tp, records=len(missing))
            _insert(client, missing, bury, patience, suspects)
        hours |= _hours(client, bounds)
        if suspects is not None:
            suspects.settled(tp, (last or first) + 1)
    patience.for_owner()
    repair_roll_up(client, sorted(hours))


def _bounds(tp: TopicPartition, first: int, last: int) -> dict[str, Any]:
    return {"topic": tp.topic, "partition": tp.partition, "first": first, "last": last}


def _stored(client: Client, bounds: dict[str, Any]) -> set[int]:
    """Offsets of a range that have a row."""
    return {row[0] for row in client.query(_STORED, parameters=bounds).result_rows}


def _hours(client: Client, bounds: dict[str, Any]) -> set[int]:
    """Hours of the roll-up that the rows of a range belong to; seconds since 1970."""
    return {row[0] for row in client.query(_HOURS, parameters=bounds).result_rows}


def _begin(log: Log, sources: Sequence[TopicPartition], suspects: Suspects) -> None:
    """What an uncertain range holds is not settled."""
    starts = log.start_offsets(sources)
    committed = log.committed_all(GROUP, sources)
    suspects.begin(
        {tp: at.offset if at else starts[tp] for tp, at in committed.items()},
        log.end_offsets(sources),
    )


def _insert(
    client: Client,
    records: Sequence[Record],
    bury: Burial,
    patience: Patience,
    suspects: Suspects | None,
) -> None:
    left = deque(records)
    while left and suspects is not None and suspects.careful:
        # Behind the old spans a record needs no admission: it was in no life that died.
        suspects.admit(position_of(left[0]))
        run = [left.popleft()]
        while left and suspects.admit(position_of(left[0])):
            run.append(left.popleft())
        _insert_rows(client, run, bury, patience, suspects)
        last = run[-1]
        suspects.settled(TopicPartition(last.topic, last.partition), last.offset + 1)
    _insert_rows(client, left, bury, patience, suspects)


def _insert_rows(
    client: Client,
    records: Iterable[Record],
    bury: Burial,
    patience: Patience,
    suspects: Suspects | None,
) -> None:
    lines = (line_of(record, bury, suspects) for record in records)
    insert(client, [line for line in lines if line], bury, patience)
