"""What a start finds out about the last run: which rows of its last inserts are stored."""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.deadline import deadline
from connectors.clickhouse.ranges import FencesOf, Range, range_of
from connectors.clickhouse.rows import insert, line_of, position_of
from connectors.log.port import Log, Record, TopicPartition
from connectors.log.suspects import Suspects

_HOUR_S = 3600

_STORED = """
SELECT _offset FROM sealwax.events
WHERE _topic = {topic:String} AND _partition = {partition:UInt16}
  AND _offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_HOURS = """
SELECT DISTINCT toUnixTimestamp(toStartOfHour(at)) FROM sealwax.events
WHERE _topic = {topic:String} AND _partition = {partition:UInt16}
  AND _offset BETWEEN {first:UInt64} AND {last:UInt64}
"""
_SHORT_HOURS = """
SELECT b.hour FROM (
  SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, count() AS n FROM sealwax.events
  WHERE toUnixTimestamp(toStartOfHour(at)) IN {hours:Array(UInt32)}
    AND at >= toDateTime({since:UInt32}) AND at < toDateTime({until:UInt32})
  GROUP BY hour
) AS b LEFT JOIN (
  SELECT toUnixTimestamp(hour) AS hour, sum(n) AS n FROM sealwax.stats_hourly
  WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)} GROUP BY hour
) AS r ON b.hour = r.hour WHERE b.n != r.n
"""
_WEEKS = "SELECT DISTINCT toMonday(toDateTime(arrayJoin({hours:Array(UInt32)}), 'UTC'))"
_KEEP_OTHERS = """
INSERT INTO sealwax.stats_hourly_tmp SELECT * FROM sealwax.stats_hourly
WHERE toMonday(hour) = {week:Date} AND toUnixTimestamp(hour) NOT IN {hours:Array(UInt32)}
"""
# The view's own SELECT, over the hours in question.
_RECOMPUTE = """
INSERT INTO sealwax.stats_hourly_tmp
SELECT tenant, toStartOfHour(at) AS hour, stream, provider, kind, machine, count() AS n,
  uniqCombined64IfState(12)(email_id, kind IN ('opened', 'clicked')) AS emails,
  quantilesTDigestIfState(0.5, 0.95, 0.99)(elapsed_ms, kind = 'delivered') AS latency
FROM sealwax.events
WHERE toMonday(at) = {week:Date} AND toUnixTimestamp(toStartOfHour(at)) IN {hours:Array(UInt32)}
GROUP BY tenant, hour, stream, provider, kind, machine
"""

logger = structlog.get_logger(__name__)


class RepairTimeouts(NamedTuple):
    """How long a repair may take; then the process ends.

    Attributes:
        insert: Each insert.
        whole: All of it.
    """

    insert: timedelta
    whole: timedelta


def repair(  # noqa: PLR0913 - what a start has at hand
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    bury: Burial,
    timeouts: RepairTimeouts,
    fences: FencesOf,
    *,
    suspects: Suspects | None = None,
) -> dict[TopicPartition, int]:
    """Makes events and roll-ups hold exactly what the committed ranges hold.

    The last committed range of a partition is uncertain: an insert is atomic per ClickHouse
    partition and per table only. Rows that are missing are inserted from the log, and hours whose
    roll-up differs are computed anew and swapped in.

    Returns:
        Where to read on in each partition.
    """
    with deadline(timeouts.whole, "the repair of the last inserts"):
        return _repaired(log, client, sources, bury, timeouts.insert, fences, suspects=suspects)


def _repaired(  # noqa: PLR0913
    log: Log,
    client: Client,
    sources: Sequence[TopicPartition],
    bury: Burial,
    timeout: timedelta,
    fences: FencesOf,
    *,
    suspects: Suspects | None,
) -> dict[TopicPartition, int]:
    if suspects is not None:
        _begin(log, sources, suspects)
    positions = {}
    hours: set[int] = set()
    committed, starts = log.committed_all(GROUP, sources), log.start_offsets(sources)
    for tp in sources:
        at = committed[tp]
        first, last, _ = range_of(at) if at else Range(starts[tp], None)
        if last is None:
            positions[tp] = first
            continue
        bounds = {"topic": tp.topic, "partition": tp.partition, "first": first, "last": last}
        stored = {row[0] for row in client.query(_STORED, parameters=bounds).result_rows}
        missing = [
            record
            for record in log.scan(tp, first, last + 1)
            if fences[tp].admits(record) and record.offset not in stored and not bury.stands(record)
        ]
        if missing:
            logger.info("records of the last insert have no row", tp=tp, records=len(missing))
            _insert(client, missing, bury, timeout, suspects)
        hours.update(row[0] for row in client.query(_HOURS, parameters=bounds).result_rows)
        positions[tp] = last + 1
        if suspects is not None:
            suspects.settled(tp, last + 1)
    if hours:
        _repair_roll_up(client, sorted(hours))
    # What is certain now need not be looked at again, and what was buried is buried once.
    certain = {tp: Range(at, None, fences[tp].before(at)) for tp, at in positions.items()}
    log.commit(GROUP, {tp: one.committed() for tp, one in certain.items()}, durable=True)
    return positions


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
    timeout: timedelta,
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
    timeout: timedelta,
    suspects: Suspects | None,
) -> None:
    lines = (line_of(record, bury, suspects) for record in records)
    insert(client, [line for line in lines if line], bury, timeout)


def _repair_roll_up(client: Client, hours: Sequence[int]) -> None:
    span = {"since": hours[0], "until": hours[-1] + _HOUR_S}  # so that few parts are read
    short = client.query(_SHORT_HOURS, parameters={"hours": list(hours), **span}).result_rows
    if not short:
        return
    wrong = [row[0] for row in short]
    logger.info("hours of the roll-up are computed anew", hours=len(wrong))
    recompute(client, wrong)


def recompute(client: Client, hours: Sequence[int]) -> None:
    """Computes these hours of the roll-up anew from the events; seconds since 1970."""
    if not hours:
        return
    for (week,) in client.query(_WEEKS, parameters={"hours": list(hours)}).result_rows:
        bounds = {"week": week.isoformat(), "hours": list(hours)}
        client.command("TRUNCATE TABLE sealwax.stats_hourly_tmp")
        client.command(_KEEP_OTHERS, parameters=bounds)
        client.command(_RECOMPUTE, parameters=bounds)
        # The swap is atomic: a crash before it only repeats the repair. ClickHouse refuses to swap
        # nothing in.
        left = client.query("SELECT count() FROM sealwax.stats_hourly_tmp").result_rows[0][0]
        change = "REPLACE" if left else "DROP"
        source = " FROM sealwax.stats_hourly_tmp" if left else ""
        client.command(
            f"ALTER TABLE sealwax.stats_hourly {change} PARTITION '{week.isoformat()}'{source}"
        )
