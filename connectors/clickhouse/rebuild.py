"""Refilling ClickHouse from the log, for when its directory was lost or is not trusted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice

from clickhouse_connect.driver.client import Client

from connectors.clickhouse.burial import GROUP
from connectors.clickhouse.roll_up import recompute
from connectors.clickhouse.rows import Line, insert, line_of, stop_inserts
from connectors.log.port import Committed, Log, Record, TopicPartition
from connectors.log.retention import first_since
from sealwax.store.analytics.cluster import cluster_of

_ROWS = 20_000
_HOURS = """
SELECT DISTINCT toUnixTimestamp(toStartOfHour(at)) FROM events
WHERE _topic = {topic:String} AND _partition = {partition:UInt16} AND _offset >= {first:UInt64}
"""
_DROP = """
ALTER TABLE %s DELETE
WHERE _topic = {topic:String} AND _partition = {partition:UInt16} AND _offset >= {first:UInt64}
"""


def rebuild(
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    since_ms: int,
    progress: Callable[[TopicPartition, int], None],
    timeout: timedelta | None,
) -> int:
    """Replaces all rows of records that were appended at `since_ms` or later by those of the log.

    The analytics flow must not run. If this is cut short while it deletes, call it again; once it
    stores, a start of the flow goes on with it as well.

    Args:
        log: The log.
        client: ClickHouse.
        sources: The partitions whose records carry rows.
        since_ms: Milliseconds since 1970.
        progress: Called with a partition and how many of its rows were stored since the last call.
        timeout: That of an insert.

    Returns:
        How many rows were stored.
    """
    starts = {tp: first_since(log, tp, since_ms, log.end_offset(tp)) for tp in sources}
    _delete(client, starts)
    log.commit(GROUP, {tp: Committed(at) for tp, at in starts.items()}, durable=True)
    total = 0
    for tp, first in starts.items():
        end = log.end_offset(tp)
        for lines in _batches(log.scan(tp, first, end)):
            span = Committed(lines[0].record.offset, str(lines[-1].record.offset))
            log.commit(GROUP, {tp: span}, durable=True)
            insert(client, lines, _leave, timeout)
            total += len(lines)
            progress(tp, len(lines))
        log.commit(GROUP, {tp: Committed(end)}, durable=True)
    return total


def _delete(client: Client, starts: Mapping[TopicPartition, int]) -> None:
    """Deletes the rows from these offsets on; the roll-up then holds what is left."""
    cluster = cluster_of(client)
    stop_inserts(client, {tp.partition for tp in starts}, cluster.on)
    cluster.catch_up(client)
    table = cluster.local("events") + cluster.on
    hours: set[int] = set()
    for tp, first in starts.items():
        bounds = {"topic": tp.topic, "partition": tp.partition, "first": first}
        hours.update(row[0] for row in client.query(_HOURS, parameters=bounds).result_rows)
        client.command(_DROP % table, parameters=bounds, settings={"mutations_sync": 2})
    recompute(client, sorted(hours))


def _batches(records: Iterator[Record]) -> Iterator[list[Line]]:
    lines = (line for record in records if (line := line_of(record, _leave)))
    while batch := list(islice(lines, _ROWS)):
        yield batch


def _leave(_record: Record, _reason: str, _detail: str) -> None:
    """What cannot be stored stands in `email.dead` since it was first read."""
