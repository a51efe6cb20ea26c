"""Putting records aside that cannot be stored: each once, over crashes too."""

from collections.abc import Callable, Sequence

from connectors.log.dead import append_dead, dead_entry, read_dead
from connectors.log.port import Log, Record, TopicPartition
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position
from sealwax.model.topics import DEAD

GROUP = "analytics"  # the flow that reads rows, and its group in the log


class Burial:
    """Appends to `email.dead`.

    A range is committed after its records were looked at. So what is looked at again after a crash
    may stand in `email.dead` already: a start reads what it has of records that are not settled.
    Within one life a record may be looked at again until its range is done.

    A process that stands still between its look at its ownership and the append may put aside what
    the next owner has put aside too: a dead record twice, as these carry no writer (R3).
    """

    def __init__(
        self,
        log: Log,
        sources: Sequence[TopicPartition],
        for_owner: Callable[[], None] = lambda: None,
    ) -> None:
        """Begins with what the last run put aside.

        Args:
            log: The log.
            sources: The partitions that are read; what was committed of them must not change
                before.
            for_owner: Returns as soon as the process is sure of its partitions, or raises.
        """
        self._log = log
        self._for_owner = for_owner
        self._now: dict[TopicPartition, set[int]] = {}
        self._before = _buried(log, sources)

    def __call__(self, record: Record, reason: str, detail: str) -> None:
        """Puts a record aside, unless that was done before."""
        here = self._now.setdefault(TopicPartition(record.topic, record.partition), set())
        if record.offset not in here and not self.stands(record):
            self._for_owner()
            here.add(record.offset)
            append_dead(self._log, dead_entry(record, reason, detail, flow=GROUP))

    def done(self, tp: TopicPartition) -> None:
        """Says that no record so far of a partition is looked at again in this life."""
        self._now.pop(tp, None)

    def stands(self, record: Record) -> bool:
        """Whether the last run put a record aside."""
        return Position(record.topic, record.partition, record.offset) in self._before


def _buried(log: Log, sources: Sequence[TopicPartition]) -> set[Position]:
    """Records that are not settled yet and were put aside.

    They stand in the partition of `email.dead` of the same number, after they were read: what is
    older than the first that is not settled is left out. Mostly nothing is dead, and nothing read.
    """
    dead = [TopicPartition(DEAD, number) for number in {tp.partition for tp in sources}]
    dead_starts, dead_ends = log.start_offsets(dead), log.end_offsets(dead)
    numbers = {tp.partition for tp in dead if dead_starts[tp] < dead_ends[tp]}
    asked = [tp for tp in sources if tp.partition in numbers]
    starts, ends, committed = (
        log.start_offsets(asked), log.end_offsets(asked), log.committed_all(GROUP, asked)
    )  # fmt: skip
    firsts = {tp: at.offset if at else starts[tp] for tp, at in committed.items()}
    firsts = {tp: first for tp, first in firsts.items() if first < ends[tp]}
    stamps_ms = dict.fromkeys(firsts, 0)  # where the first is gone all that is dead is read
    for record in log.scan_all({tp: (first, first + 1) for tp, first in firsts.items()}):
        stamps_ms[TopicPartition(record.topic, record.partition)] = record.stamp_ms
    ranges = {}
    for tp in dead:
        since_ms = [ms for source, ms in stamps_ms.items() if source.partition == tp.partition]
        if since_ms:
            ranges[tp] = log.offset_since(tp, min(since_ms)), dead_ends[tp]
    found = set()
    for record in log.scan_all(ranges):
        try:
            read = read_dead(record)
        except UnreadableRecordError:
            continue
        topic, partition, offset = read.source
        first = firsts.get(TopicPartition(topic, partition))
        if read.flow == GROUP and first is not None and offset >= first:
            found.add(read.source)
    return found
