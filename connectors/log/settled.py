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
    waiting = [stamp for tp in partitions if (stamp := _waiting_since_ms(log, group, tp))]
    return min(waiting, default=now_ms - _UNDER_WAY_MS)


def _waiting_since_ms(log: Log, group: str, tp: TopicPartition) -> int | None:
    """The stamp of the first record that is not settled."""
    end = log.end_offset(tp)
    committed = log.committed(group, tp)
    first = log.start_offset(tp) if committed is None else committed.offset
    record = next(log.scan(tp, first, end), None) if first < end else None
    return None if record is None else record.stamp_ms
