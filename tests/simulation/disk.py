"""The simulated disk: what stays when processes die, and what a power loss takes with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from connectors.log.port import (
    MOST_METADATA_BYTES,
    Committed,
    Entry,
    Record,
    TopicPartition,
)
from sealwax.errors import StorageFullError
from sealwax.model.topics import TopicSpec
from tests.simulation.clock import VirtualClock

GroupPosition = tuple[str, TopicPartition]


class Disk:
    """Topics and the positions of groups. A transaction is stored whole or not at all.

    Attributes:
        full: While it is set nothing can be written.
        watchers: Called with what became durable in one transaction.
        on_commit: Called with each position before it is stored: group, partition, position.
    """

    def __init__(self, clock: VirtualClock, partitions: int) -> None:
        self.partitions = partitions
        self.full = False
        self.records: dict[TopicPartition, list[Record]] = {}
        self.positions: dict[GroupPosition, Committed] = {}
        self.watchers: list[Callable[[Sequence[Record]], object]] = []
        self.on_commit: Callable[[str, TopicPartition, Committed], object] = lambda *_: None
        self._clock = clock
        # What the commits that a power loss may undo replaced, oldest first.
        self._replaced: list[dict[GroupPosition, Committed | None]] = []

    def create(self, specs: Iterable[TopicSpec]) -> None:
        for spec in specs:
            for number in range(self.partitions):
                self.records.setdefault(TopicPartition(spec.name, number), [])

    def store(self, topic: str, appends: Sequence[Sequence[Entry]]) -> list[list[int]]:
        """Stores appends in one transaction; their offsets. Raises StorageFullError."""
        if self.full:
            raise StorageFullError("the simulated disk is full")
        stamp_ms = self._clock.now_ms()
        offsets: list[list[int]] = []
        stored = []
        for entries in appends:
            offsets.append([])
            for partition, key, value, headers in entries:
                records = self.records[TopicPartition(topic, partition)]
                record = Record(topic, partition, len(records), key, value, headers, stamp_ms)
                records.append(record)
                stored.append(record)
                offsets[-1].append(record.offset)
        for watcher in self.watchers:
            watcher(stored)
        return offsets

    def commit(
        self, group: str, positions: Mapping[TopicPartition, Committed], *, durable: bool
    ) -> None:
        """Stores positions in one transaction. Raises StorageFullError and ValueError."""
        if self.full:
            raise StorageFullError("the simulated disk is full")
        if any(
            len(position.metadata.encode()) > MOST_METADATA_BYTES for position in positions.values()
        ):
            raise ValueError("metadata is too long")
        replaced = {}
        for tp, position in positions.items():
            self.on_commit(group, tp, position)
            replaced[group, tp] = self.positions.get((group, tp))
            self.positions[group, tp] = position
        self._replaced.append(replaced)
        if durable:
            self._replaced.clear()

    def lose_power(self, random: Random) -> int:
        """Undoes any number of the last commits that were not durable; how many."""
        lost = random.randint(0, len(self._replaced))
        for _ in range(lost):
            for where, position in self._replaced.pop().items():
                if position is None:
                    del self.positions[where]
                else:
                    self.positions[where] = position
        self._replaced.clear()  # what was found after the power came back is on the disk
        return lost
