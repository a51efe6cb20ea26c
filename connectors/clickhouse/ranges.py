"""What analytics commits: how far a partition is stored, what is being inserted, and fences."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from connectors.clickhouse.burial import GROUP
from connectors.log.fences import Fences, Writer
from connectors.log.port import Committed, Log, TopicPartition
from connectors.log.settle import Stand, decode_stand, encode_stand
from sealwax.errors import UnreadableRecordError

FencesOf = Mapping[TopicPartition, Fences]


class Range(NamedTuple):
    """A committed position of analytics.

    Attributes:
        first: What is below it is stored.
        last: The last offset of an insert whose end was not committed; None where there is none.
        fences: The newest fences below `first`.
    """

    first: int
    last: int | None
    fences: tuple[Writer, ...] = ()

    def committed(self) -> Committed:
        """As a group's position."""
        last = "" if self.last is None else str(self.last)
        stand = f" {encode_stand(Stand((), fences=self.fences))}" if self.fences else ""
        return Committed(self.first, last + stand)


def range_of(committed: Committed) -> Range:
    """The reverse of `Range.committed`."""
    last, _, stand = committed.metadata.partition(" ")
    try:
        fences = decode_stand(stand).fences if stand else ()
    except UnreadableRecordError:
        fences = ()
    return Range(committed.offset, int(last) if last else None, fences)


def fences_of(log: Log, sources: Sequence[TopicPartition]) -> FencesOf:
    """The fences of each partition, as they stand at its committed position."""
    committed = log.committed_all(GROUP, sources)
    return {tp: Fences(tp, range_of(at).fences if at else ()) for tp, at in committed.items()}
