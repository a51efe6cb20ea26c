"""Which record kills its process (R16): decided from what the starts before left behind.

A record that kills the process takes everything with it that was handed out at the same time. So
starts that find the same watermark are counted. From the third one on the process is careful: the
records that may be the killer are handed out in runs, each settled before the next one, of 1, 2, 4,
... records. A death in a longer run only brings the next start closer to the killer. A record is
convicted by the third death in a run of its own.

Runs of one alone would do too, but after three kills from outside they would hold up all mail: a
window of dispatch has 12,500 records a partition, and one of them may take 30 s. With runs that
double, n records take log2(n) waits, and the killer costs at most log2(n) deaths more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sealwax.model.delivery import Position

# The start at one watermark from which on the process is careful.
CAREFUL_FROM_START = 3
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
        spans: What the process is careful with: partitions, and the end of what lives that died
            had handed out of each. Empty in a process that works as always.
        deaths: How often the process died right after it had handed out this record alone.
        handed: The record that was handed out alone a moment ago.
    """

    stands: Mapping[Place, Stand] = field(default_factory=dict)
    spans: Mapping[Place, int] = field(default_factory=dict)
    deaths: Mapping[Position, int] = field(default_factory=dict)
    handed: Position | None = None

    @property
    def careful(self) -> bool:
        """Whether records are handed out in runs."""
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
        What to leave behind should this life end before it is a long one. Care lasts over several
        lives, until all `spans` are settled: otherwise the killer, alone at last, would be among
        others again.
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
    if spans or any(stand.starts >= CAREFUL_FROM_START for stand in stands.values()):
        for place, end in above.items():
            spans[place] = max(end, spans.get(place, 0))
    return Suspicion(stands, spans, _deaths(last, watermarks) if spans else {})


def after_stop(suspicion: Suspicion) -> Suspicion:
    """What a process leaves behind that was asked to stop and did: this life counts for nothing."""
    return replace(suspicion, stands={}, handed=None)


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one partition that are in work, while no others of the process are.

    Attributes:
        place: Their partition.
        last: Offset of the last one handed out.
        left: How many more may join them.
    """

    place: Place
    last: int
    left: int


def admit(
    suspicion: Suspicion, run: Run | None, position: Position, *, size: int
) -> tuple[Suspicion, Run] | None:
    """Hands a record out in a careful process.

    Args:
        suspicion: As it is.
        run: The one in work, if any.
        position: The next record of its partition.
        size: How many records a new run may have.

    Returns:
        What must be durable before the record goes to the flow, and the run that it is in; None
        where it has to wait.
    """
    place = (position.topic, position.partition)
    if position.offset >= suspicion.spans.get(place, 0):
        return None
    if run is None:
        handed = position if size == 1 else None
        return replace(suspicion, handed=handed), Run(place, position.offset, size - 1)
    if run.place == place and run.left:
        return suspicion, Run(place, position.offset, run.left - 1)
    return None


def settled(suspicion: Suspicion) -> Suspicion:
    """What to leave behind once the run in work is settled, or is no longer fresh."""
    return replace(suspicion, handed=None)


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
