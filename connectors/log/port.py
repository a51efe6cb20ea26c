"""The log port: partitioned, append-only topics that every flow reads and writes.

Two adapters implement it (SQLite by default, Kafka for production), and both pass
tests/conformance/test_log.py. Offsets are dense from 0 in the embedded log; Kafka may leave gaps
(compaction, markers), so a reader never assumes that the next offset is the last plus one.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from sealwax.model.topics import TopicSpec

# A Kafka broker takes 4,096 by its documentation (offset.metadata.max.bytes), and refuses that very
# number (seen with 4.3.1).
MOST_METADATA_BYTES = 4_000

Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Entry(NamedTuple):
    """A record to append. `value` None is a tombstone of a compacted topic."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Record(NamedTuple):
    """A record that was read.

    `stamp_ms` is the log's own append time (LogAppendTime), milliseconds since 1970. It never goes
    back within a partition. `unreadable` says why the log's client could not read what stands
    there; then there is no key, value or header.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    stamp_ms: int
    unreadable: str = ""


def size_of(record: Record) -> int:
    """The bytes of its key, value and headers."""
    around = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + around


class Committed(NamedTuple):
    """A group's committed position: the next offset to settle.

    `metadata` is text of at most MOST_METADATA_BYTES, kept as given.
    """

    offset: int
    metadata: str = ""


# Called exactly once per append from a thread of the log: with the offsets in the order of the
# entries once they are durable, or with the error that kept all of them out; of NotConfirmedError
# alone it is not known, and some or all may be durable.
OnDurable = Callable[[Sequence[int] | Exception], None]


class Reader(Protocol):
    """Reads one partition forwards. Used by one thread at a time."""

    def read(self, max_records: int, max_bytes: int) -> list[Record]:
        """The next records, at once: an empty list where none are there yet.

        At least one record is returned where one is there, however large. Never blocks for longer
        than a local read takes.
        """
        ...

    def close(self) -> None:
        """Gives the reader's resources back. Idempotent."""
        ...


class Log(Protocol):
    """The log. Every method may be called from any thread."""

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Creates what is missing, changes nothing that exists. Idempotent, also over processes."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises KeyError for an unknown topic."""
        ...

    def incarnation(self, topic: str) -> str:
        """Names this life of the topic: one that was deleted and made again has another."""
        ...

    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        """Appends all entries or none, durably; returns at once.

        Entries of one call keep their order per partition. In the embedded log they are one
        transaction; on Kafka they are one batch per partition.
        Errors arrive at `on_durable`: StorageFullError, LogClosedError, OSError, and in a process
        that gives up NotConfirmedError.
        """
        ...

    def append_wait(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        """Appends and waits until it is durable; raises what `append` would report."""
        results: list[Sequence[int] | Exception] = []
        done = threading.Event()

        def on_durable(result: Sequence[int] | Exception) -> None:
            results.append(result)
            done.set()

        self.append(topic, entries, on_durable)
        done.wait()
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def reader(self, tp: TopicPartition, offset: int) -> Reader:
        """A reader whose first record is the first one at or above `offset`."""
        ...

    def scan(self, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
        """All records with start <= offset < end, in order; blocks as long as it takes."""
        ...

    def scan_all(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> Iterator[Record]:
        """`scan` of many partitions; each one's records in order, partitions in any."""
        for tp, (start, end) in ranges.items():
            yield from self.scan(tp, start, end)

    def start_offset(self, tp: TopicPartition) -> int:
        """The lowest offset that may still be read."""
        ...

    def end_offset(self, tp: TopicPartition) -> int:
        """One above the last durable record."""
        ...

    def start_offsets(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """`start_offset` of many, where the log is far away in one request."""
        return {tp: self.start_offset(tp) for tp in tps}

    def end_offsets(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """`end_offset` of many, likewise."""
        return {tp: self.end_offset(tp) for tp in tps}

    def offset_since(self, tp: TopicPartition, stamp_ms: int) -> int:
        """The first offset whose record was appended at `stamp_ms` or later, or the end.

        Stamps never go back within a partition, so a few single reads find it.
        """
        low, high = self.start_offset(tp), self.end_offset(tp)
        end = high
        while low < high:
            middle = (low + high) // 2
            record = next(iter(self.scan(tp, middle, high)), None)
            if record is None or record.stamp_ms >= stamp_ms:
                high = middle
            else:
                low = record.offset + 1
        return min(low, end)

    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        """What the group committed last, or None."""
        ...

    def committed_all(
        self, group: str, tps: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, Committed | None]:
        """`committed` of many, likewise."""
        return {tp: self.committed(group, tp) for tp in tps}

    def commit(
        self, group: str, positions: Mapping[TopicPartition, Committed], *, durable: bool = True
    ) -> None:
        """Commits positions together. Without `durable` a power loss may undo the last second."""
        ...

    def groups(self) -> Sequence[str]:
        """Every group that ever committed."""
        ...

    def lag(self, group: str, tp: TopicPartition) -> int:
        """Records from the group's committed offset (or the log start) to the log end."""
        ...

    def delete_before(self, tp: TopicPartition, offset: int) -> None:
        """Lets go of records below `offset`; whole segments go, so some may stay."""
        ...

    def compact(self, topic: str) -> None:
        """Drops superseded records of a compacted topic; the last of each key stays as it is."""
        ...

    def close(self) -> None:
        """Waits for pending appends, then closes. Idempotent."""
        ...


class Ownership(Protocol):
    """Who may work on a partition number of a flow (R3).

    Owning a number means owning it of every topic that the flow reads.
    """

    def acquire(self, wanted: Sequence[int]) -> Sequence[int]:
        """Takes what it can get of the wanted partition numbers.

        The embedded adapter takes all of them or raises OwnedElsewhereError, which names the pid.
        """
        ...

    def valid_until(self) -> float:
        """Until when ownership is certain, on sealwax.clock.since_boot; infinity while held."""
        ...

    def close(self) -> None:
        """Gives all of it back. Idempotent."""
        ...
