"""The roll-up by hour, made to agree with the events: its view is no part of their insert."""

from collections.abc import Sequence

import structlog
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.rows import mark_of_repair
from sealwax.store.analytics.cluster import Cluster, cluster_of

_HOUR_S = 3600

_SHORT_HOURS = """
SELECT b.hour FROM (
  SELECT toUnixTimestamp(toStartOfHour(at)) AS hour, count() AS n FROM events
  WHERE toUnixTimestamp(toStartOfHour(at)) IN {hours:Array(UInt32)}
    AND at >= toDateTime({since:UInt32}) AND at < toDateTime({until:UInt32})
  GROUP BY hour
) AS b LEFT JOIN (
  SELECT toUnixTimestamp(hour) AS hour, sum(n) AS n FROM stats_hourly
  WHERE toUnixTimestamp(hour) IN {hours:Array(UInt32)} GROUP BY hour
) AS r ON b.hour = r.hour WHERE b.n != r.n
"""
_WEEKS = "SELECT DISTINCT toMonday(toDateTime(arrayJoin({hours:Array(UInt32)}), 'UTC'))"
_KEEP_OTHERS = """
INSERT INTO stats_hourly_tmp SELECT * FROM stats_hourly
WHERE toMonday(hour) = {week:Date} AND toUnixTimestamp(hour) NOT IN {hours:Array(UInt32)}
"""
# The view's own SELECT, over the hours in question.
_RECOMPUTE = """
INSERT INTO %s
SELECT tenant, toStartOfHour(at) AS hour, stream, provider, kind, machine, count() AS n,
  uniqCombined64IfState(12)(email_id, kind IN ('opened', 'clicked')) AS emails,
  quantilesTDigestIfState(0.5, 0.95, 0.99)(elapsed_ms, kind = 'delivered') AS latency
FROM events
WHERE toMonday(at) = {week:Date} AND toUnixTimestamp(toStartOfHour(at)) IN {hours:Array(UInt32)}
GROUP BY tenant, hour, stream, provider, kind, machine
"""
_FORGET = """
ALTER TABLE %s DELETE
WHERE toMonday(hour) = {week:Date} AND toUnixTimestamp(hour) IN {hours:Array(UInt32)}
"""
# Each shard computes its own part of the roll-up, from its own events.
_ON_EACH_SHARD = {"parallel_distributed_insert_select": 2, "distributed_foreground_insert": 1}

logger = structlog.get_logger(__name__)


def repair_roll_up(client: Client, hours: Sequence[int]) -> None:
    """Computes those of the hours anew that count something else than the events do.

    Nothing may insert meanwhile: between an insert and its view's, the two differ.

    Args:
        client: ClickHouse.
        hours: Seconds since 1970, in order.
    """
    if not hours:
        return
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
    cluster = cluster_of(client)
    for (week,) in client.query(_WEEKS, parameters={"hours": list(hours)}).result_rows:
        bounds = {"week": week.isoformat(), "hours": list(hours)}
        if cluster.name:
            _delete_and_compute(client, bounds, cluster)
        else:
            _compute_and_swap(client, bounds)


def _compute_and_swap(client: Client, bounds: dict[str, object]) -> None:
    """The swap is atomic: a crash before it only repeats the repair."""
    marked = {"log_comment": mark_of_repair(client)}
    client.command("TRUNCATE TABLE stats_hourly_tmp", settings=marked)
    client.command(_KEEP_OTHERS, parameters=bounds, settings=marked)
    client.command(_RECOMPUTE % "stats_hourly_tmp", parameters=bounds, settings=marked)
    # ClickHouse refuses to swap nothing in.
    left = client.query("SELECT count() FROM stats_hourly_tmp").result_rows[0][0]
    change, source = ("REPLACE", " FROM stats_hourly_tmp") if left else ("DROP", "")
    client.command(
        f"ALTER TABLE stats_hourly {change} PARTITION '{bounds['week']}'{source}", settings=marked
    )


def _delete_and_compute(client: Client, bounds: dict[str, object], cluster: Cluster) -> None:
    """On a cluster, where a shard may have nothing to swap in.

    A crash between the two leaves hours that count too little, and the next repair sees it.
    """
    table = cluster.local("stats_hourly") + cluster.on
    marked: dict[str, object] = {"log_comment": mark_of_repair(client)}
    client.command(_FORGET % table, parameters=bounds, settings={**marked, "mutations_sync": 2})
    settings = {**marked, **_ON_EACH_SHARD}
    client.command(_RECOMPUTE % "stats_hourly", parameters=bounds, settings=settings)
