"""Whether the wall clock can be trusted: it is compared with the monotonic clock (R11)."""

from dataclasses import dataclass
from enum import Enum, auto

# Exit status of a process that ends because the clock went back: sysexits.h EX_TEMPFAIL.
WENT_BACK_STATUS = 75
# Bytewax calls no source until a clock that was set back has caught up; below a second that is
# less than a slow disk costs.
STEP_BACK_MS = 1_000
# What time daemons step by when a machine wakes is below it; mail is tried for a minute at least.
STEP_FORWARD_MS = 60_000
AGREEMENT_MS = 600_000
# How far the stamp of a record that was appended a moment ago may be from the wall clock.
STAMP_TOLERANCE_MS = 60_000


class Sign(Enum):
    """What a look at the clocks shows."""

    STEADY = auto()
    WENT_BACK = auto()
    WENT_FORWARD = auto()


@dataclass(frozen=True, slots=True)
class ClockWatch:
    """What was seen at the last look.

    Attributes:
        wall_ms: The wall clock.
        monotonic_ms: The monotonic clock.
        agreed_since_ms: Since when nothing spoke against the wall clock, monotonic.
    """

    wall_ms: int
    monotonic_ms: float
    agreed_since_ms: float

    @property
    def agreed_for_long(self) -> bool:
        """Whether a wall clock that stepped forward has shown itself right since."""
        return self.monotonic_ms - self.agreed_since_ms >= AGREEMENT_MS


def first_look(wall_ms: int, monotonic_ms: float) -> ClockWatch:
    """The state at the start of a process."""
    return ClockWatch(wall_ms, monotonic_ms, monotonic_ms)


def look(
    watch: ClockWatch, *, wall_ms: int, monotonic_ms: float, stamp_ms: int | None = None
) -> tuple[Sign, ClockWatch]:
    """Compares the two clocks with those of the last look.

    A time daemon that slews a clock (0.05 %) is no step, however long it does.

    Args:
        watch: The last look.
        wall_ms: The wall clock, milliseconds since 1970.
        monotonic_ms: The monotonic clock at the same moment.
        stamp_ms: The log's own stamp of a record that was appended a moment ago, where there is
            one.

    Returns:
        What is to be done about it, and the state for the next look.
    """
    step_ms = (wall_ms - watch.wall_ms) - (monotonic_ms - watch.monotonic_ms)
    forward = step_ms > STEP_FORWARD_MS
    disagrees = stamp_ms is not None and abs(wall_ms - stamp_ms) > STAMP_TOLERANCE_MS
    agreed_since_ms = monotonic_ms if forward or disagrees else watch.agreed_since_ms
    seen = ClockWatch(wall_ms, monotonic_ms, agreed_since_ms)
    if step_ms < -STEP_BACK_MS:
        return Sign.WENT_BACK, seen
    return Sign.WENT_FORWARD if forward else Sign.STEADY, seen
