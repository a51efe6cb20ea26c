"""What a start finds out about the last run: which rows of its last inserts are stored."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.deadline import deadline
from connectors.clickhouse.patience import Patience, at_start
from connectors.clickhouse.roll_up import repair_roll_up
from connectors.clickhouse.rows import Bury, Line, insert, line_of, position_of, stop_inserts
from connectors.log.port import Committed, Log, Record, TopicPartition
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


def repair(
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    bury: Burial,
    patience: Patience,
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

    def repaired() -> dict[TopicPartition, int]:
        return _repaired(log, client, sources, bury, patience.insert, suspects)

    with deadline(patience.whole, "the repair of the last inserts"):
        positions = at_start(repaired, patience)
    for tp in sources:
        bury.done(tp)
    return positions


def store_missing(
    client: Client,
    lines: Sequence[Line],
    ranges: Mapping[TopicPartition, tuple[int, int]],
    bury: Bury,
    timeout: timedelta | None,
) -> None:
    """After an insert that failed: stores what it did not, and sets the roll-up right.

    Args:
        client: ClickHouse.
        lines: All that were to be inserted.
        ranges: First and last offset of the records that they came with.
        bury: Puts a record aside.
        timeout: That of an insert.

    Raises:
        ClickHouseError: It is away or fails; call this again.
    """
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
    insert(client, missing, bury, timeout)
    hours = {hour for bounds in spans for hour in _hours(client, bounds)}
    repair_roll_up(client, sorted(hours))


def _repaired(
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    bury: Burial,
    timeout: timedelta | None,
    suspects: Suspects | None,
) -> dict[TopicPartition, int]:
    cluster = cluster_of(client)
    stop_inserts(client, {tp.partition for tp in sources}, cluster.on)
    cluster.catch_up(client)
    positions = {}
    hours: set[int] = set()
    for tp in sources:
        committed = log.committed(GROUP, tp)
        if committed is None or not committed.metadata:
            positions[tp] = committed.offset if committed else log.start_offset(tp)
            continue
        first, last = committed.offset, int(committed.metadata)
        bounds = _bounds(tp, first, last)
        stored = _stored(client, bounds)
        missing = [
            record
            for record in log.scan(tp, first, last + 1)
            if record.offset not in stored and not bury.stands(record)
        ]
        if missing:
            logger.info("records of the last insert have no row", tp=tp, records=len(missing))
            _insert(client, missing, bury, timeout, suspects)
        hours |= _hours(client, bounds)
        positions[tp] = last + 1
        if suspects is not None:
            suspects.settled(tp, last + 1)
    repair_roll_up(client, sorted(hours))
    # What is certain now need not be looked at again, and what was buried is buried once.
    log.commit(GROUP, {tp: Committed(at) for tp, at in positions.items()}, durable=True)
    return positions


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
    committed = {tp: log.committed(GROUP, tp) for tp in sources}
    suspects.begin(
        {tp: at.offset if at else log.start_offset(tp) for tp, at in committed.items()},
        {tp: log.end_offset(tp) for tp in sources},
    )


def _insert(
    client: Client,
    records: Sequence[Record],
    bury: Burial,
    timeout: timedelta | None,
    suspects: Suspects | None,
) -> None:
    left = deque(records)
    while left and suspects is not None and suspects.careful:
        # Behind the old spans a record needs no admission: it was in no life that died.
        suspects.admit(position_of(left[0]))
        run = [left.popleft()]
        while left and suspects.admit(position_of(left[0])):
            run.append(left.popleft())
        _insert_rows(client, run, bury, timeout, suspects)
        last = run[-1]
        suspects.settled(TopicPartition(last.topic, last.partition), last.offset + 1)
    _insert_rows(client, left, bury, timeout, suspects)


def _insert_rows(
    client: Client,
    records: Iterable[Record],
    bury: Burial,
    timeout: timedelta | None,
    suspects: Suspects | None,
) -> None:
    lines = (line_of(record, bury, suspects) for record in records)
    insert(client, [line for line in lines if line], bury, timeout)
