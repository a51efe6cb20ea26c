"""Putting records aside that cannot be stored: each once, over crashes too."""

from collections.abc import Sequence

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
    """

    def __init__(self, log: Log, sources: Sequence[TopicPartition]) -> None:
        """Takes the partitions that are read; what was committed of them must not change before."""
        self._log = log
        self._now: dict[TopicPartition, set[int]] = {}
        self._before = {
            position
            for number in {tp.partition for tp in sources}
            for position in _buried(log, [tp for tp in sources if tp.partition == number])
        }

    def __call__(self, record: Record, reason: str, detail: str) -> None:
        """Puts a record aside, unless that was done before."""
        here = self._now.setdefault(TopicPartition(record.topic, record.partition), set())
        if record.offset not in here and not self.stands(record):
            here.add(record.offset)
            append_dead(self._log, dead_entry(record, reason, detail, flow=GROUP))

    def done(self, tp: TopicPartition) -> None:
        """Says that no record so far of a partition is looked at again in this life."""
        self._now.pop(tp, None)

    def stands(self, record: Record) -> bool:
        """Whether the last run put a record aside."""
        return Position(record.topic, record.partition, record.offset) in self._before


def _buried(log: Log, sources: Sequence[TopicPartition]) -> set[Position]:
    """Records of some partitions of one number, not settled yet, that were put aside."""
    firsts: dict[str, int] = {}
    stamps_ms = []
    committed, starts, ends = (
        log.committed_all(GROUP, sources), log.start_offsets(sources), log.end_offsets(sources)
    )  # fmt: skip
    for tp in sources:
        at = committed[tp]
        first = at.offset if at else starts[tp]
        record = next(log.scan(tp, first, ends[tp]), None) if first < ends[tp] else None
        if record is not None:
            firsts[tp.topic] = first
            stamps_ms.append(record.stamp_ms)
    if not firsts:
        return set()
    dead = TopicPartition(DEAD, sources[0].partition)
    found = set()
    for record in log.scan(dead, log.offset_since(dead, min(stamps_ms)), log.end_offset(dead)):
        try:
            read = read_dead(record)
        except UnreadableRecordError:
            continue
        topic, _, offset = read.source
        if read.flow == GROUP and topic in firsts and offset >= firsts[topic]:
            found.add(read.source)
    return found
