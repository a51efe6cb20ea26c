"""How far a group has come, as a time."""

from collections.abc import Sequence

from connectors.log.port import Log, TopicPartition

# A record has its stamp a moment before it can be read; no append takes so long.
_UNDER_WAY_MS = 60_000


def settled_before_ms(log: Log, group: str, topics: Sequence[str], now_ms: int) -> int:
    """Every record of these topics that was stamped before it is settled by the group.

    Args:
        log: The log.
        group: A flow's name.
        topics: The topics, with all their partitions, whoever reads them.
        now_ms: The present.

    Returns:
        Milliseconds since 1970; a minute before `now_ms` where nothing waits.
    """
    partitions = [TopicPartition(t, n) for t in topics for n in range(log.partitions(t))]
    committed, ends = log.committed_all(group, partitions), log.end_offsets(partitions)
    starts = log.start_offsets(partitions)
    waiting = []
    for tp, at in committed.items():
        first = at.offset if at else starts[tp]
        record = next(log.scan(tp, first, ends[tp]), None) if first < ends[tp] else None
        if record is not None:  # the first that is not settled
            waiting.append(record.stamp_ms)
    return min(waiting, default=now_ms - _UNDER_WAY_MS)
