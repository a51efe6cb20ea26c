"""When messages that a lane cannot send soon come back: about as many as it can send by then."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

_SLOT_MS = 60_000
_FURTHEST_SLOTS = 60
_AHEAD_OF_PACE = 2
# Where none has ended yet: one in two seconds for each session, as a host that greets slowly.
_UNKNOWN_A_SESSION = 30


def next_slot(planned: Mapping[int, int], *, per_minute: int, now_ms: int) -> int:
    """The first minute that still has room.

    Args:
        planned: Minute (milliseconds since 1970 divided by 60,000) -> messages planned for it.
        per_minute: Messages that the lane sends in a minute; at least 1 is assumed.
        now_ms: The present.

    Returns:
        The minute's number; at the latest the one in an hour, where everything further gathers to
        be planned again.
    """
    first = now_ms // _SLOT_MS + 1
    room = max(1, per_minute)
    for minute in range(first, first + _FURTHEST_SLOTS):
        if planned.get(minute, 0) < room:
            return minute
    return first + _FURTHEST_SLOTS


def slot_start_ms(minute: int, draw: float) -> int:
    """A moment in the minute; `draw` in [0, 1) spreads them over its first ten seconds."""
    return minute * _SLOT_MS + int(draw * 10_000)


def slot_room(pace: int | None, connections: int) -> int:
    """How many messages are planned for a minute.

    More than the lane gets rid of now: one that comes back too early is read once more, one that
    comes back too late waits while sessions are free.

    Args:
        pace: Messages that the lane gets rid of in a minute; None where that is not known.
        connections: Sessions that it may have.
    """
    return connections * _UNKNOWN_A_SESSION if pace is None else pace * _AHEAD_OF_PACE


def per_minute(ended_ms: Sequence[float], *, busy_since_ms: float, now_ms: float) -> int | None:
    """How many messages a lane gets rid of in a minute, by what ended while it was busy.

    Args:
        ended_ms: When its last attempts ended, oldest first.
        busy_since_ms: Since when messages have been waiting, on the same clock.
        now_ms: The present.

    Returns:
        At least 1; None where no attempt has ended since.
    """
    ended = len(ended_ms) - bisect_left(ended_ms, busy_since_ms)
    if not ended:
        return None
    since_ms = max(busy_since_ms, ended_ms[0])  # what is older is forgotten
    return max(1, int(ended * _SLOT_MS / max(1_000.0, now_ms - since_ms)))
