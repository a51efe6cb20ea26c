"""What a flow reads, where its outcomes go, and the groups that its positions are kept in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.log.port import Record, TopicPartition, size_of

_READ_BACK = ".readback."


def read_back_group(flow: str, number: int) -> str:
    """The group whose positions say how far back a start of the flow reads its outputs.

    Of its source partitions of one number, since processes own numbers.
    """
    return f"{flow}{_READ_BACK}{number}"


def is_read_back_group(group: str) -> bool:
    """Whether a group is one of those, and no flow."""
    return _READ_BACK in group


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """What a flow reads and where its outcomes go.

    Attributes:
        name: Its group in the log.
        shares: Source topics, with the part of the process's reading window that each one gets.
        outputs: Partition number -> the output partitions in which outcomes of records of that
            number can stand, in a fixed order (a change makes old marks unreadable).
        hold_ms: Delay topics: how long a record stays in one, counted from its stamp.
        window_records: Records that the process holds unsettled at most.
        window_bytes: Bytes that it holds unsettled at most, and one record more.
        weight: How many bytes a record holds until it is settled: its own, or those that are made
            of it.
    """

    name: str
    shares: Mapping[str, int]
    outputs: Callable[[int], Sequence[TopicPartition]]
    hold_ms: Mapping[str, int] = field(default_factory=dict)
    window_records: int = 50_000
    window_bytes: int = 256 * 1024 * 1024
    weight: Callable[[Record], int] = size_of
