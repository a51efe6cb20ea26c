"""Fences (R3): what a former owner of a partition still appends is ignored by every reader.

On Kafka a process that was stopped may wake after its partitions moved, and what it had queued
goes out. So each owner of a partition number gets an incarnation, a number that only rises. It
begins with a fence in every partition that its outcomes go to, and every outcome names its writer.
A record of an older incarnation than the newest fence before it was appended too late.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from connectors.log.port import Entry, Record, TopicPartition
from sealwax.model.topics import REQUESTED

FENCE = "fence"
WRITER = "writer"


class Writer(NamedTuple):
    """An owner of a partition number of a flow, in one of its lives."""

    flow: str
    number: int
    incarnation: int

    def header(self, name: str = WRITER) -> tuple[str, bytes]:
        """The header of an outcome, or of a fence."""
        return name, f"{self.flow}/{self.number}/{self.incarnation}".encode()


def _cannot_rise(above: Mapping[int, int]) -> None:
    raise ValueError(f"an owner below the incarnations {above} that were before it")


class Owner(NamedTuple):
    """A process that owns partition numbers.

    Attributes:
        writers: By number, who it is to the readers of its outcomes, where another one that owned
            the number may still append; those of its cluster, too.
        valid_until: Until when it is certain that it owns its numbers, on sealwax.clock.since_boot.
        rise: Makes it another one of its numbers, with incarnations above these; `writers` says so.
    """

    writers: Mapping[int, Writer] = MappingProxyType({})
    valid_until: Callable[[], float] = lambda: inf
    rise: Callable[[Mapping[int, int]], None] = _cannot_rise


def fence_entry(partition: int, writer: Writer) -> Entry:
    """A fence; it has no key and an empty value."""
    return Entry(partition, None, b"", (writer.header(FENCE),))


def writer_of(raw: bytes) -> Writer | None:
    """The reverse of `Writer.header`; None for other bytes."""
    parts = raw.decode("utf-8", "replace").split("/")
    if len(parts) != len(Writer._fields) or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    return Writer(parts[0], int(parts[1]), int(parts[2]))


def may_be_fence(record: Record) -> bool:
    """Whether a record has neither key nor value, as no record has that waits for its time."""
    return not record.value and record.key is None


def fence_of(record: Record) -> Writer | None:
    """Whose fence a record is; None for other records."""
    return _named(record, FENCE) if may_be_fence(record) else None


class Fences:
    """The fences of one partition of the log, as a reader comes by them.

    `admits` is for the reader's thread; `before` for any one other.
    """

    def __init__(self, tp: TopicPartition, before: Iterable[Writer] = ()) -> None:
        """Takes the newest ones that stand before the reader's position."""
        # What others than flows append to says nothing about flows.
        self._trusted = tp.topic not in REQUESTED
        self._lock = threading.Lock()
        self._passed: list[tuple[int, Writer]] = [(-1, writer) for writer in before]
        self._newest: dict[tuple[str, int], int] = {}
        for writer in before:
            self._raise(writer)

    def admits(self, record: Record) -> bool:
        """Whether a record counts; a fence does not, and what it says holds from then on."""
        if not self._trusted:
            return True
        if may_be_fence(record):
            fence = fence_of(record)
            if fence is not None:
                with self._lock:
                    self._passed.append((record.offset, fence))
                self._raise(fence)
                return False
        return not self.is_late(record)

    def is_late(self, record: Record) -> bool:
        """Whether a record was appended behind the fence of a newer owner."""
        if not self._newest:
            return False
        writer = _named(record, WRITER)
        return writer is not None and writer.incarnation < self._newest.get(writer[:2], 0)

    def before(self, offset: int) -> tuple[Writer, ...]:
        """The newest fences below an offset, which is not below that of the last call."""
        if not self._passed:
            return ()
        newest: dict[tuple[str, int], Writer] = {}
        later = []
        with self._lock:
            for at, writer in self._passed:
                if at >= offset:
                    later.append((at, writer))
                elif writer.incarnation >= newest.get(writer[:2], writer).incarnation:
                    newest[writer[:2]] = writer
            self._passed = [*((-1, writer) for writer in newest.values()), *later]
        return tuple(newest.values())

    def _raise(self, writer: Writer) -> None:
        known = self._newest.get(writer[:2], 0)
        self._newest[writer[:2]] = max(known, writer.incarnation)


def admitted(
    records: Iterable[Record], tp: TopicPartition, before: Iterable[Writer] = ()
) -> Iterator[Record]:
    """Those of a partition's records, in order, that count."""
    fences = Fences(tp, before)
    return (record for record in records if fences.admits(record))


def _named(record: Record, name: str) -> Writer | None:
    raw = next((value for key, value in record.headers if key == name), None)
    return None if raw is None else writer_of(raw)
