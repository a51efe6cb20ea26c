"""Retention (R5): what every reader is past, or a later record supersedes, is let go of."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from connectors.log.flow_spec import read_back_group
from connectors.log.port import Committed, Log, TopicPartition
from sealwax import clock

# Nothing is urgent while there is room: whole segments go, and a segment is worth minutes.
_EVERY_S = 60.0
_LOOK_EVERY_S = 2.0
_COMPACT_EVERY_S = 3_600.0  # it reads the whole topic, twice
# What is named is appended before the record that names it, and never so long before.
_NAMED_WITHIN_MS = 86_400_000

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """How long the records of a topic are kept.

    Attributes:
        sources: Groups that read the topic.
        read_back: Flows that read back, after a start, the partition of their own number.
        read_back_whole: Flows that read back every partition, whatever their number.
        least_ms: How long a record stays whatever its readers say, from its append.
        gives_way: Whether it stays so long only while there is room: in need each round lets go of
            half of what nobody has to read, the older one.
        named_by: A topic whose records name these: one stays while a record of that topic may name
            it.
        compacted: The last record of each key stays for ever, and no other; the rest says nothing.
    """

    sources: Sequence[str] = ()
    read_back: Sequence[str] = ()
    read_back_whole: Sequence[str] = ()
    least_ms: int = 0
    gives_way: bool = False
    named_by: str = ""
    compacted: bool = False

    def groups(self, number: int, partitions: int) -> list[str]:
        """The groups whose positions bound partition `number` of a topic."""
        return [
            *self.sources,
            *(read_back_group(flow, number) for flow in self.read_back),
            *(read_back_group(flow, n) for flow in self.read_back_whole for n in range(partitions)),
        ]


def bounds(
    log: Log, wanted: Mapping[TopicPartition, Kept], *, in_need: bool = False
) -> dict[TopicPartition, int]:
    """Below them nobody needs a record any more; 0 where a group has never committed."""
    groups = {
        tp: kept.groups(tp.partition, log.partitions(tp.topic)) for tp, kept in wanted.items()
    }
    partitions: defaultdict[str, list[TopicPartition]] = defaultdict(list)
    for tp, names in groups.items():
        for name in names:
            partitions[name].append(tp)
    # One question to each group: on Kafka each is a client of its own.
    committed = {name: log.committed_all(name, tps) for name, tps in partitions.items()}
    return {
        tp: _bound(log, tp, kept, [committed[name][tp] for name in groups[tp]], in_need=in_need)
        for tp, kept in wanted.items()
    }


def _bound(
    log: Log,
    tp: TopicPartition,
    kept: Kept,
    committed: Sequence[Committed | None],
    *,
    in_need: bool,
) -> int:
    below = min((point.offset if point else 0 for point in committed), default=log.end_offset(tp))
    if kept.least_ms:
        old = first_since(log, tp, clock.now_ms() - kept.least_ms, below)
        below = old + (below - old + 1) // 2 if in_need and kept.gives_way else old
    if kept.named_by:
        below = first_since(log, tp, _oldest_ms(log, kept.named_by) - _NAMED_WITHIN_MS, below)
    return below


def _oldest_ms(log: Log, topic: str) -> int:
    """When the oldest record of a topic was appended; now where it has none."""
    partitions = [TopicPartition(topic, n) for n in range(log.partitions(topic))]
    starts, ends = log.start_offsets(partitions), log.end_offsets(partitions)
    scans = [log.scan(tp, starts[tp], ends[tp]) for tp in partitions if starts[tp] < ends[tp]]
    firsts = [next(iter(scan), None) for scan in scans]
    return min((first.stamp_ms for first in firsts if first), default=clock.now_ms())


def first_since(log: Log, tp: TopicPartition, stamp_ms: int, below: int) -> int:
    """The first offset whose record was appended at `stamp_ms` or later, at most `below`."""
    return min(log.offset_since(tp, stamp_ms), below)


class Retention:
    """Deletes from some topics what all their groups are past: each minute, or at once in need."""

    def __init__(
        self,
        log: Log,
        numbers: Sequence[int],
        kept: Mapping[str, Kept],
        in_need: Callable[[], bool],
        clock_trusted: Callable[[], bool],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts nothing yet.

        Args:
            log: The log.
            numbers: The partition numbers of this process.
            kept: By topic, how long its records are kept.
            in_need: Whether the disk is so full that every look is a round.
            clock_trusted: Whether ages are right; nothing is deleted while they may not be.
            before: Called in each round, before bounds are taken and before anything goes: what is
                committed is durable then.
        """
        self._log = log
        self._numbers = tuple(numbers)
        self._kept = kept
        self._in_need = in_need
        self._clock_trusted = clock_trusted
        self._before = before
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Starts the thread that deletes."""
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._ended.set()
        self._thread.join()

    def run_once(self) -> None:
        """Deletes what may go now."""
        self._before()
        wanted = {
            TopicPartition(topic, number): kept
            for topic, kept in self._kept.items()
            if not kept.compacted
            for number in self._numbers
        }
        found = bounds(self._log, wanted, in_need=self._in_need())
        # Positions that were committed since are bounds too, and not on the disk yet (R17): after a
        # power cut a group would stand below the start.
        self._before()
        for tp, below in found.items():
            if below > self._log.start_offset(tp):
                self._log.delete_before(tp, below)

    def compact(self) -> None:
        """Drops the superseded records of compacted topics."""
        for topic, kept in self._kept.items():
            if kept.compacted:
                self._log.compact(topic)

    def _run(self) -> None:
        ran_at, compacted_at = clock.monotonic(), float("-inf")
        while not self._ended.wait(_LOOK_EVERY_S):
            try:
                is_time = clock.monotonic() - ran_at >= _EVERY_S or self._in_need()
                if is_time and self._clock_trusted():
                    self.run_once()
                    ran_at = clock.monotonic()
                if clock.monotonic() - compacted_at >= _COMPACT_EVERY_S:
                    self.compact()
                    compacted_at = clock.monotonic()
            except Exception:
                # The log is away or full: what may go goes a round later.
                logger.exception("retention failed, tried again")
