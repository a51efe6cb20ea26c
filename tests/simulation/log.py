"""The log port over the simulated disk: group commits that take their time, and die half-way."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from random import Random

from typing_extensions import override

from connectors.log.port import Committed, Entry, Log, OnDurable, Reader, Record, TopicPartition
from sealwax.errors import LogClosedError, StorageFullError
from sealwax.model.topics import TopicSpec
from tests.simulation.disk import Disk

_Append = tuple[Sequence[Entry], OnDurable]


class _SimulatedReader(Reader):
    def __init__(self, records: Sequence[Record], offset: int) -> None:
        self._records = records
        self._offset = offset

    @override
    def read(self, max_records: int, max_bytes: int) -> list[Record]:
        taken: list[Record] = []
        for record in islice(self._records, self._offset, self._offset + max_records):
            max_bytes -= len(record.value or b"")
            if taken and max_bytes < 0:
                break
            taken.append(record)
        self._offset += len(taken)
        return taken

    @override
    def close(self) -> None:
        """There is nothing to give back."""


class SimulatedLog(Log):
    """One process's log. A topic has one group commit at a time; what comes meanwhile waits.

    Args:
        disk: What all processes share.
        after: Calls a function after that many milliseconds.
        random: Decides how long a commit takes.
    """

    def __init__(
        self, disk: Disk, after: Callable[[float, Callable[[], object]], object], random: Random
    ) -> None:
        self._disk = disk
        self._after = after
        self._random = random
        self._waiting: defaultdict[str, list[_Append]] = defaultdict(list)
        self._committing: dict[str, list[_Append]] = {}
        self._untold = 0
        self._closed = False
        self._dead = False

    def kill(self) -> None:
        """The process dies: a commit in progress is stored or not, all else is gone."""
        for topic, appends in self._committing.items():
            if self._random.random() < 0.5 and not self._disk.full:
                self._disk.store(topic, [entries for entries, _ in appends])
        self._dead = True

    @property
    def pending(self) -> bool:
        """Whether appends or their callbacks are still to come."""
        return bool(self._committing or self._untold)

    @override
    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        self._disk.create(specs)

    @override
    def partitions(self, topic: str) -> int:
        self._records(TopicPartition(topic, 0))
        return self._disk.partitions

    @override
    def incarnation(self, topic: str) -> str:
        return f"first {topic}"

    @override
    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        if self._closed:
            on_durable(LogClosedError("the log is closed"))
            return
        for number in {0, *(entry.partition for entry in entries)}:
            self._records(TopicPartition(topic, number))
        self._waiting[topic].append((entries, on_durable))
        if topic not in self._committing:
            self._begin(topic)

    @override
    def append_wait(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        """Durable at once: no simulated process may wait while the others stand still."""
        if self._closed:
            raise LogClosedError("the log is closed")
        for number in {0, *(entry.partition for entry in entries)}:
            self._records(TopicPartition(topic, number))
        return self._disk.store(topic, [entries])[0]

    @override
    def reader(self, tp: TopicPartition, offset: int) -> Reader:
        return _SimulatedReader(self._records(tp), offset)

    @override
    def scan(self, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
        return iter(self._records(tp)[start:end])

    @override
    def start_offset(self, tp: TopicPartition) -> int:
        self._records(tp)
        return 0

    @override
    def end_offset(self, tp: TopicPartition) -> int:
        return len(self._records(tp))

    @override
    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        return self._disk.positions.get((group, tp))

    @override
    def commit(
        self, group: str, positions: Mapping[TopicPartition, Committed], *, durable: bool = True
    ) -> None:
        self._disk.commit(group, positions, durable=durable)

    @override
    def groups(self) -> Sequence[str]:
        return sorted({group for group, _ in self._disk.positions})

    @override
    def lag(self, group: str, tp: TopicPartition) -> int:
        committed = self.committed(group, tp)
        return self.end_offset(tp) - (committed.offset if committed else 0)

    @override
    def delete_before(self, tp: TopicPartition, offset: int) -> None:
        """Nothing goes: the port allows that what is below stays."""
        self._records(tp)

    @override
    def compact(self, topic: str) -> None:
        """Nothing goes here either; no flow that is simulated reads a compacted topic."""

    @override
    def close(self) -> None:
        self._closed = True
        while self._committing:
            self._end(next(iter(self._committing)))

    def _records(self, tp: TopicPartition) -> list[Record]:
        try:
            return self._disk.records[tp]
        except KeyError:
            if TopicPartition(tp.topic, 0) in self._disk.records:
                raise ValueError(f"{tp.topic} has no partition {tp.partition}") from None
            raise KeyError(tp.topic) from None

    def _begin(self, topic: str) -> None:
        if self._waiting[topic]:
            self._committing[topic] = self._waiting.pop(topic)
            self._after(self._takes_ms(), lambda: self._end(topic))

    def _takes_ms(self) -> float:
        """Mostly milliseconds, now and then a disk that is busy with something else."""
        draw = self._random.random()
        longest = 8 if draw < 0.8 else 60 if draw < 0.95 else 1_500
        return self._random.random() * longest

    def _end(self, topic: str) -> None:
        if self._dead:
            return
        appends = self._committing.pop(topic)
        results: Sequence[Sequence[int] | Exception]
        try:
            results = self._disk.store(topic, [entries for entries, _ in appends])
        except StorageFullError as error:
            results = [error] * len(appends)
        # What is durable is not known at once: the process can die in between.
        tell_ms = 0.0
        for (_, on_durable), result in zip(appends, results, strict=True):
            tell_ms += self._random.random() * 2
            self._untold += 1
            self._after(tell_ms, partial(self._tell, on_durable, result))
        self._begin(topic)

    def _tell(self, on_durable: OnDurable, result: Sequence[int] | Exception) -> None:
        self._untold -= 1
        if not self._dead:
            on_durable(result)
