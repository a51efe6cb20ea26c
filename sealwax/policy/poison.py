"""Which record kills its process (R16): decided from what the starts before left behind.

A record that kills the process takes everything with it that was handed out at the same time. So
starts that find the same watermark are counted; from the third one on the records that may be the
killer are handed out one at a time, and the deaths of each are counted by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sealwax.model.delivery import Position

# The start at one watermark at which records are handed out one at a time from then on.
ALONE_FROM_START = 3
# Deaths of the process within moments after a record was handed out alone that convict it.
DEATHS_TO_CONVICT = 3

Place = tuple[str, int]  # topic and partition


@dataclass(frozen=True, slots=True)
class Stand:
    """A partition as the starts found it.

    Attributes:
        watermark: Every record below it is settled.
        starts: Starts in a row that found this watermark, and that records at or above it had
            been handed out.
    """

    watermark: int
    starts: int


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a process leaves behind for the next start, should it die.

    Attributes:
        stands: The partitions that had handed something out above their watermark.
        spans: Where records are handed out one at a time: partitions, and the end of what lives
            that died had handed out of each. Empty in a process that works as always.
        deaths: How often the process died right after it had handed out this record alone.
        handed: The record that was handed out alone a moment ago.
    """

    stands: Mapping[Place, Stand] = field(default_factory=dict)
    spans: Mapping[Place, int] = field(default_factory=dict)
    deaths: Mapping[Position, int] = field(default_factory=dict)
    handed: Position | None = None

    @property
    def alone(self) -> bool:
        """Whether records are handed out one at a time."""
        return bool(self.spans)

    def convicted(self, position: Position) -> bool:
        """Whether the record has killed the process too often to be processed again."""
        return self.deaths.get(position, 0) >= DEATHS_TO_CONVICT


def after_start(
    last: Suspicion, *, watermarks: Mapping[Place, int], reached: Mapping[Place, int]
) -> Suspicion:
    """What a start makes of the last life.

    Args:
        last: What the last life left behind; empty after one that lived long.
        watermarks: Of the partitions that this process owns.
        reached: One above the last record that lives before this one handed out, by partition.

    Returns:
        What to leave behind should this life end before it is a long one. Lives in which records
        go out one at a time continue until all `spans` are settled: otherwise the killer, alone at
        last, would be among others again.
    """
    above = {
        place: end
        for place, end in reached.items()
        if place in watermarks and end > watermarks[place]
    }
    stands = {
        place: Stand(watermarks[place], _starts(last.stands.get(place), watermarks[place]))
        for place in above
    }
    spans = {
        place: end
        for place, end in last.spans.items()
        if place in watermarks and end > watermarks[place]
    }
    if spans or any(stand.starts >= ALONE_FROM_START for stand in stands.values()):
        for place, end in above.items():
            spans[place] = max(end, spans.get(place, 0))
    return Suspicion(stands, spans, _deaths(last, watermarks) if spans else {})


def after_stop(suspicion: Suspicion) -> Suspicion:
    """What a process leaves behind that was asked to stop and did: this life counts for nothing."""
    return replace(suspicion, stands={}, handed=None)


def hand_out(suspicion: Suspicion, position: Position) -> Suspicion | None:
    """Hands a record out alone.

    Returns:
        What must be durable before the record goes to the flow; None where its partition waits
        until the others are through with their spans.
    """
    end = suspicion.spans.get((position.topic, position.partition))
    if end is None or position.offset >= end:
        return None
    return replace(suspicion, handed=position)


def pass_by(suspicion: Suspicion, place: Place, watermark: int) -> Suspicion:
    """Ends the span of a partition, where everything in it is settled."""
    if watermark < suspicion.spans.get(place, watermark + 1):
        return suspicion
    spans = {other: end for other, end in suspicion.spans.items() if other != place}
    return replace(suspicion, spans=spans)


def _starts(stand: Stand | None, watermark: int) -> int:
    return stand.starts + 1 if stand is not None and stand.watermark == watermark else 1


def _deaths(last: Suspicion, watermarks: Mapping[Place, int]) -> dict[Position, int]:
    """The deaths of records that are not settled yet."""
    deaths = dict(last.deaths)
    if last.handed is not None:
        deaths[last.handed] = deaths.get(last.handed, 0) + 1
    return {
        position: count
        for position, count in deaths.items()
        if position.offset >= watermarks.get((position.topic, position.partition), 0)
    }
