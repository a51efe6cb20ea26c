"""When messages that a lane cannot send soon come back: about as many as it can send by then."""

from collections.abc import Mapping, Sequence

_SLOT_MS = 60_000
_FURTHEST_SLOTS = 60


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


def per_minute(ended_ms: Sequence[float], now_ms: float) -> int:
    """How many messages a lane gets rid of in a minute, by the attempts that ended lately.

    Args:
        ended_ms: When its last attempts ended, oldest first.
        now_ms: The present, on the same clock.
    """
    if not ended_ms:
        return 1
    span_ms = max(1_000.0, now_ms - ended_ms[0])
    return max(1, int(len(ended_ms) * _SLOT_MS / span_ms))
