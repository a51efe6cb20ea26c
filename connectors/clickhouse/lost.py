"""Why a partition may not be read on into ClickHouse: rows of it are lost (R4); no mail is."""

import structlog

from connectors.clickhouse.burial import GROUP
from connectors.clickhouse.ranges import Range, life_of, range_of
from connectors.log.looking import partitions_of
from connectors.log.lost import why_lost
from connectors.log.port import Log, TopicPartition
from connectors.records import WITH_ROWS

MEND = "sealwax analytics rebuild"

logger = structlog.get_logger(__name__)


def why_rows_lost(
    committed: Range | None, life: bytes, held: int | None, first: int, end: int
) -> str:
    """Why a start of analytics may not go on in a partition; empty where it may.

    Args:
        committed: What it committed, or None.
        life: That of the topic now; empty where the log has none.
        held: Where nothing is committed, the last offset that ClickHouse has a row of.
        first: The start of the partition.
        end: Its end.
    """
    if committed is None:
        # Behind the last row may have been records without one, so a gap says nothing for sure.
        return why_lost(None if held is None or held + 1 < first else held + 1, first, end)
    if committed.life and life and committed.life != life:
        return "its topic was deleted and made again"
    return why_lost(committed.first, first, end)


def say_stopped(tp: TopicPartition, reason: str) -> None:
    """The alert."""
    logger.critical(
        "a partition is not read, rows of it are lost", flow=GROUP, tp=tp, reason=reason,
        see="sealwax doctor", mend=MEND,
    )  # fmt: skip


def stopped(log: Log) -> dict[TopicPartition, str]:
    """The partitions that a start of analytics would not read on, and why, by the log alone."""
    sources = partitions_of(log, *WITH_ROWS)
    starts, ends = log.start_offsets(sources), log.end_offsets(sources)
    found = {}
    for tp, at in log.committed_all(GROUP, sources).items():
        committed = range_of(at) if at else None
        life = life_of(log, tp) if committed and committed.life else b""
        reason = why_rows_lost(committed, life, None, starts[tp], ends[tp])
        if reason and committed is None:
            reason += "; a start looks in ClickHouse how far it was"
        if reason:
            found[tp] = reason
    return found
