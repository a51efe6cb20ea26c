"""Refilling ClickHouse from the log, for when its directory was lost or is not trusted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from clickhouse_connect.driver.client import Client

from connectors.clickhouse.burial import GROUP
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import Followed, life_of, range_of
from connectors.clickhouse.roll_up import recompute
from connectors.clickhouse.rows import Line, insert, line_of, stop_inserts
from connectors.log.fences import Fences
from connectors.log.port import Log, Record, TopicPartition
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


def rebuild(  # noqa: PLR0913 - what a command has at hand
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    since_ms: int,
    progress: Callable[[TopicPartition, int], None],
    patience: Patience,
    *,
    in_cluster: bool,
) -> int:
    """Replaces all rows of records that were appended at `since_ms` or later by those of the log.

    The analytics flow must not run. If this is cut short while it deletes, call it again; once it
    stores, a start of the flow goes on with it as well. Afterwards no partition is stopped: what is
    lost of it stays lost.

    Args:
        log: The log.
        client: ClickHouse.
        sources: The partitions whose records carry rows.
        since_ms: Milliseconds since 1970.
        progress: Called with a partition and how many of its rows were stored since the last call.
        patience: That of an insert, and whether the command is still alone.
        in_cluster: Whether topics may be deleted and made again.

    Returns:
        How many rows were stored.

    Raises:
        StoppedWhileAwayError: It is not alone any more.
    """
    starts = {tp: log.offset_since(tp, since_ms) for tp in sources}
    follows = {
        tp: Followed(_fences_before(log, tp, first), life_of(log, tp) if in_cluster else b"")
        for tp, first in starts.items()
    }
    patience.for_owner()
    _delete(client, starts)
    patience.for_owner()
    log.commit(GROUP, {tp: follows[tp].at(at) for tp, at in starts.items()}, durable=True)
    total = 0
    for tp, first in starts.items():
        end = log.end_offset(tp)
        records = filter(follows[tp].fences.admits, log.scan(tp, first, end))
        for lines in _batches(records):
            at, last = lines[0].record.offset, lines[-1].record.offset
            patience.for_owner()
            log.commit(GROUP, {tp: follows[tp].at(at, last)}, durable=True)
            insert(client, lines, _leave, patience)
            total += len(lines)
            progress(tp, len(lines))
        patience.for_owner()
        log.commit(GROUP, {tp: follows[tp].at(end)}, durable=True)
    return total


def _fences_before(log: Log, tp: TopicPartition, first: int) -> Fences:
    """The fences below an offset; where analytics has come by none there are none to look for."""
    committed = log.committed(GROUP, tp)
    fences = Fences(tp)
    if committed is not None and range_of(committed).fences:
        for record in log.scan(tp, log.start_offset(tp), first):
            fences.admits(record)
    return fences


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
