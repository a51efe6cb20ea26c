"""The log's own stamps of what was appended a moment ago, to hold the wall clock against."""

from collections.abc import Sequence

from connectors.log.port import Log, TopicPartition


class FreshStamps:
    """Looks at the ends of some partitions. For one thread at a time."""

    def __init__(self, log: Log, partitions: Sequence[TopicPartition]) -> None:
        self._log = log
        self._ends = dict(log.end_offsets(partitions))

    def take(self) -> int | None:
        """The stamp of the newest record appended since the last call; None where there is none.

        Asks the log, and waits for it as long as a scan may.
        """
        ends = self._log.end_offsets(self._ends)
        last = {tp: (end - 1, end) for tp, end in ends.items() if end > self._ends[tp]}
        stamp_ms = max((record.stamp_ms for record in self._log.scan_all(last)), default=None)
        self._ends.update(ends)
        return stamp_ms
