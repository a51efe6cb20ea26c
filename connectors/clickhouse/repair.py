"""What a start finds out about the last run: which rows of its last inserts are stored."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.deadline import deadline
from connectors.clickhouse.lost import say_stopped, why_rows_lost
from connectors.clickhouse.patience import Patience, at_start
from connectors.clickhouse.ranges import FollowedOf, Range, range_of
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
_HELD = "SELECT _topic, _partition, max(_offset) FROM events GROUP BY _topic, _partition"
# Of uncertain records so many are looked at at once: where offsets were forgotten there are
# millions.
_RECORDS = 20_000
_BYTES = 32 * 1024 * 1024

logger = structlog.get_logger(__name__)


class _Part(NamedTuple):
    """Of an uncertain range so much as is made certain at once: its offsets, and what counts."""

    first: int
    last: int
    records: Sequence[Record]


def repair(  # noqa: PLR0913, PLR0917 - what a start has at hand
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    bury: Burial,
    patience: Patience,
    follows: FollowedOf,
    suspects: Suspects | None = None,
) -> dict[TopicPartition, int]:
    """Makes events and roll-ups hold exactly what the committed ranges hold.

    The last committed range of a partition is uncertain: an insert is atomic per ClickHouse
    partition and per table only. Rows that are missing are inserted from the log, and hours whose
    roll-up differs are computed anew and swapped in. Inserts and repairs of a process that died may
    still run on a server, and are ended before.

    Where nothing is committed, since a cluster has forgotten it, all that the log has up to the
    last row in ClickHouse is uncertain. Where something is, ClickHouse has nothing behind it: a
    range is committed before its rows are inserted.

    Returns:
        Where to read on in each partition that has lost nothing.
    """
    if suspects is not None:
        _begin(log, sources, suspects)
    ranges = _ranges(log, client, sources, patience, follows)
    while True:
        # What is certain then need not be looked at again, and what was buried is buried once.
        ranges |= _round(log, client, ranges, bury, patience, follows, suspects)
        if all(one.last is None for one in ranges.values()):
            break
    for tp in sources:
        bury.done(tp)
    return {tp: one.first for tp, one in ranges.items()}


def _ranges(
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    patience: Patience,
    follows: FollowedOf,
) -> dict[TopicPartition, Range]:
    """What is uncertain of each partition; those that have lost records are left out."""
    committed = log.committed_all(GROUP, sources)
    starts, ends = log.start_offsets(sources), log.end_offsets(sources)
    unknown = [tp for tp, at in committed.items() if at is None and ends[tp]]
    held = {}
    if unknown:
        with deadline(patience.whole, "a look at what is stored"):
            held = at_start(lambda: _held(client, unknown, patience), patience)
    ranges = {}
    for tp, at in committed.items():
        known, last, first = range_of(at) if at else None, held.get(tp), starts[tp]
        reason = why_rows_lost(known, follows[tp].life, last, first, ends[tp])
        if reason:
            say_stopped(tp, reason)
        elif known is not None:
            ranges[tp] = known
        elif last is None or last < first:
            ranges[tp] = Range(first, None)
        else:
            logger.warning("no offset is committed, the log is compared with ClickHouse", tp=tp)
            ranges[tp] = Range(first, last)
    return ranges


def _held(
    client: Client, tps: Sequence[TopicPartition], patience: Patience
) -> dict[TopicPartition, int]:
    """The last offset of each partition that ClickHouse has a row of."""
    _quiet(client, {tp.partition for tp in tps}, patience)
    rows = client.query(_HELD).result_rows
    return {TopicPartition(topic, number): last for topic, number, last in rows}


def _quiet(client: Client, numbers: Iterable[int], patience: Patience) -> None:
    """Makes sure that nothing of these partition numbers is inserted any more."""
    patience.for_owner()
    cluster = cluster_of(client)
    stop_inserts(client, numbers, cluster.on)
    cluster.catch_up(client)


def _round(  # noqa: PLR0913, PLR0917 - as above
    log: Log,
    client: Client,
    ranges: Mapping[TopicPartition, Range],
    bury: Burial,
    patience: Patience,
    follows: FollowedOf,
    suspects: Suspects | None,
) -> dict[TopicPartition, Range]:
    """Makes as many records certain as fit into memory; what is uncertain then."""
    with deadline(patience.whole, "the repair of the last inserts"):
        # Read once, however often it is tried: fences are passed once.
        parts = _next(log, ranges, follows)
        numbers = {tp.partition for tp in ranges}
        at_start(lambda: _repair(client, numbers, parts, bury, patience, suspects), patience)
        left = dict(ranges)
        for tp, part in parts.items():
            last = ranges[tp].last
            left[tp] = Range(part.last + 1, None if part.last == last else last)
        at_start(patience.for_owner, patience)
        positions = {tp: follows[tp].at(one.first, one.last) for tp, one in left.items()}
        log.commit(GROUP, positions, durable=True)
    return left


def _next(
    log: Log, ranges: Mapping[TopicPartition, Range], follows: FollowedOf
) -> dict[TopicPartition, _Part]:
    """The next records of uncertain ranges."""
    parts = {}
    count, size = 0, 0
    for tp, (first, last, *_) in ranges.items():
        if last is None:
            continue
        records, to = [], last
        for record in log.scan(tp, first, last + 1):
            count, size = count + 1, size + len(record.value or b"")
            if follows[tp].fences.admits(record):
                records.append(record)
            if count >= _RECORDS or size >= _BYTES:
                to = record.offset
                break
        parts[tp] = _Part(first, to, records)
        if count >= _RECORDS or size >= _BYTES:
            break
    return parts


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
    _quiet(client, {tp.partition for tp in ranges}, patience)
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
    numbers: Iterable[int],
    parts: Mapping[TopicPartition, _Part],
    bury: Burial,
    patience: Patience,
    suspects: Suspects | None,
) -> None:
    """Stores what is missing of the records of uncertain ranges; may be called again."""
    _quiet(client, numbers, patience)
    hours: set[int] = set()
    for tp, (first, last, records) in parts.items():
        bounds = _bounds(tp, first, last)
        stored = _stored(client, bounds)
        missing = [
            record for record in records if record.offset not in stored and not bury.stands(record)
        ]
        if missing:
            logger.info("records of the last insert have no row", tp=tp, records=len(missing))
            _insert(client, missing, bury, patience, suspects)
        hours |= _hours(client, bounds)
        if suspects is not None:
            suspects.settled(tp, last + 1)
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
