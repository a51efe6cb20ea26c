"""Whether a process that was asked to stop has nothing in flight any more."""

from collections.abc import Callable

from sealwax import clock

# Sources ask every 10 ms. One that comes later was kept from asking: the dataflow had work in hand,
# which no other part of the process knows of.
_KEPT_AFTER_S = 0.1


class Quiet:
    """Since when nothing has been in flight, as far as those who ask can know.

    Args:
        busy: Whether there is work that must end first.
        monotonic: The clock, in seconds.
    """

    def __init__(
        self, busy: Callable[[], bool], monotonic: Callable[[], float] = clock.monotonic
    ) -> None:
        self._busy = busy
        self._monotonic = monotonic
        self._busy_at = self._asked_at = monotonic()

    def lasts(self, seconds: float) -> bool:
        """Whether it has been quiet for that long, asked often enough to know."""
        now = self._monotonic()
        if now - self._asked_at > _KEPT_AFTER_S or self._busy():
            self._busy_at = now
        self._asked_at = now
        return now - self._busy_at >= seconds
