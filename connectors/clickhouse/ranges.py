"""What analytics commits: how far a partition is stored, what is being inserted, and fences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connectors.clickhouse.burial import GROUP
from connectors.log.fences import Fences, Writer
from connectors.log.lost import lives_of
from connectors.log.port import Committed, Log, TopicPartition
from connectors.log.settle import Stand, decode_stand, encode_stand
from sealwax.errors import UnreadableRecordError


class Range(NamedTuple):
    """A committed position of analytics.

    Attributes:
        first: What is below it is stored.
        last: The last offset of an insert whose end was not committed; None where there is none.
        fences: The newest fences below `first`.
        life: Names this life of the topic, as `lives` of a stand; empty where it was not noted.
    """

    first: int
    last: int | None
    fences: tuple[Writer, ...] = ()
    life: bytes = b""

    def committed(self) -> Committed:
        """As a group's position."""
        last = "" if self.last is None else str(self.last)
        stand = Stand((), lives=self.life, fences=self.fences)
        return Committed(self.first, last + (f" {encode_stand(stand)}" if stand != _PLAIN else ""))


_PLAIN = Stand(())


@dataclass(frozen=True, slots=True)
class Followed:
    """A partition that analytics reads.

    Attributes:
        fences: Those that it came by.
        life: As in a range.
    """

    fences: Fences
    life: bytes = b""

    def at(self, first: int, last: int | None = None) -> Committed:
        """What to commit of it: `first` and `last` as in a range."""
        return Range(first, last, self.fences.before(first), self.life).committed()


FollowedOf = Mapping[TopicPartition, Followed]


def range_of(committed: Committed) -> Range:
    """The reverse of `Range.committed`."""
    last, _, text = committed.metadata.partition(" ")
    try:
        stand = decode_stand(text) if text else _PLAIN
    except UnreadableRecordError:
        stand = _PLAIN
    return Range(committed.offset, int(last) if last else None, stand.fences, stand.lives)


def followed(log: Log, sources: Sequence[TopicPartition], *, in_cluster: bool) -> FollowedOf:
    """Each partition, with its fences as they stand at its committed position.

    In a cluster with the life of its topic, which others may delete and make again.
    """
    committed = log.committed_all(GROUP, sources)
    return {
        tp: Followed(
            Fences(tp, range_of(at).fences if at else ()), life_of(log, tp) if in_cluster else b""
        )
        for tp, at in committed.items()
    }


def life_of(log: Log, tp: TopicPartition) -> bytes:
    """Names this life of a partition's topic."""
    return lives_of(log, tp, ())
