"""Which delay topic a wait goes through (R6)."""

from sealwax.model.topics import RETRY_DELAYS_MS

# What is left of a wait below this stays in memory, in the lane.
IN_MEMORY_MS = 10_000
_JITTER_SHARE = 0.1

_SHORTEST = min(RETRY_DELAYS_MS, key=RETRY_DELAYS_MS.__getitem__)
_LONGEST_FIRST = sorted(RETRY_DELAYS_MS.items(), key=lambda item: -item[1])


def delay_for(wait_ms: float) -> str:
    """The delay topic with the largest delay not above the wait; the shortest where there is none.

    What the topic does not cover goes round again, or waits in memory where it is short enough.
    """
    return next((name for name, delay in _LONGEST_FIRST if delay <= wait_ms), _SHORTEST)


def jittered(wait_ms: int, draw: float) -> int:
    """A wait spread upwards, so that what failed together does not come back together.

    Args:
        wait_ms: The planned wait.
        draw: Uniform in [0, 1).

    Returns:
        At least `wait_ms`, and at most a tenth or 10 s more: what is left after its delay topic
        still fits in memory.
    """
    return wait_ms + int(draw * min(wait_ms * _JITTER_SHARE, IN_MEMORY_MS))
