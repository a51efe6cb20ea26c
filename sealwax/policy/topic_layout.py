"""What a topic of a Kafka cluster has to be, and what to say or do where it is not (R5)."""

from collections.abc import Mapping
from dataclasses import dataclass

# A mark names both ready topics' partitions. With these many it fits into the metadata of a
# committed offset (4,000 bytes), as long as none of them has seen more than 10^12 records.
MOST_PARTITIONS = 256
_COPIES_TO_SPARE = 3
# 7 days: for how long a process may be away and still learn from a compacted topic that a key is
# gone (R9).
_DELETIONS_KEPT_MS = str(7 * 86_400_000)
# More than what is wanted is right too.
_AT_LEAST = ("max.message.bytes", "min.insync.replicas", "delete.retention.ms")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a topic has to be.

    Attributes:
        partitions: How many; all topics of an installation have the same number.
        compacted: Whether only the last record of each key is kept.
        max_record_bytes: Size of the largest record that it takes.
        replication: How many copies; None for what the cluster gives.
    """

    partitions: int
    compacted: bool
    max_record_bytes: int
    replication: int | None = None

    def config(self, copies: int) -> dict[str, str]:
        """The topic's properties that count, as Kafka names and writes them.

        What is read is deleted by its readers' positions, never by age or size.

        Args:
            copies: How many the topic has, or 1 where the cluster chooses it.
        """
        compacted = {"delete.retention.ms": _DELETIONS_KEPT_MS} if self.compacted else {}
        return {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "message.timestamp.type": "LogAppendTime",
            # Keys, headers and framing come on top of a value.
            "max.message.bytes": str(self.max_record_bytes + (1 << 16)),
            # A copy that lacks what was acknowledged never takes the others' place.
            "unclean.leader.election.enable": "false",
            **compacted,
            **durability(copies),
        }


def durability(copies: int) -> dict[str, str]:
    """What a topic of so many copies has to be besides: an append is acknowledged by two.

    With fewer than three a broker that is away would stop all appends.
    """
    return {"min.insync.replicas": "2"} if copies >= _COPIES_TO_SPARE else {}


@dataclass(frozen=True, slots=True)
class Found:
    """What a topic is.

    Attributes:
        partitions: How many it has.
        replication: How many copies its partitions have at least.
        config: Its properties.
    """

    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something about a topic that is not as it has to be.

    Attributes:
        what: `partitions`, `replication` or a property.
        found: What it is.
        wanted: What it has to be.
        mends: Whether it can be changed without a loss.
    """

    what: str
    found: str
    wanted: str
    mends: bool = True


def differences(wanted: Wanted, found: Found) -> list[Difference]:
    """What about a topic is not as it has to be.

    A topic may take larger records than it has to, have more copies, and keep deletions for longer.
    """
    out = []
    if found.partitions != wanted.partitions:
        grows = found.partitions < wanted.partitions
        out.append(
            Difference("partitions", str(found.partitions), str(wanted.partitions), mends=grows)
        )
    if wanted.replication is not None and found.replication < wanted.replication:
        out.append(
            Difference("replication", str(found.replication), str(wanted.replication), mends=False)
        )
    for key, value in wanted.config(found.replication).items():
        is_found = found.config.get(key, "")
        if is_found != value and not (key in _AT_LEAST and _at_least(is_found, value)):
            out.append(Difference(key, is_found, value))
    return out


def _at_least(found: str, wanted: str) -> bool:
    return found.isdigit() and int(found) >= int(wanted)
