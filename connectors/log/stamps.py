"""The log's own stamps of what was appended a moment ago, to hold the wall clock against."""

from collections.abc import Sequence

from connectors.log.port import Log, TopicPartition


class FreshStamps:
    """Looks at the ends of some partitions. For one thread."""

    def __init__(self, log: Log, partitions: Sequence[TopicPartition]) -> None:
        self._log = log
        self._ends = {tp: log.end_offset(tp) for tp in partitions}

    def take(self) -> int | None:
        """The stamp of the newest record appended since the last call; None where there is none."""
        newest = None
        for tp, last_end in self._ends.items():
            end = self._log.end_offset(tp)
            if end <= last_end:
                continue
            self._ends[tp] = end
            reader = self._log.reader(tp, end - 1)
            try:
                stamps = [record.stamp_ms for record in reader.read(1, 1)]
            finally:
                reader.close()
            newest = max([*stamps, newest or 0])
        return newest
