"""The clock that messages wait by: it stands still while the log is away (R11)."""

import threading
from collections.abc import Callable

from sealwax import clock

# The oldest append of a log that works is durable within milliseconds.
_AWAY_AFTER_S = 1.0


class WaitingClock:
    """Monotonic time, less the times in which an append was unacknowledged for over a second.

    Thread-safe. It has to be looked at often, as a source of the dataflow does: what passed between
    two looks counts as it is at the second one.

    Args:
        waiting_since: Since when the oldest append waits, on the monotonic clock.
    """

    def __init__(self, waiting_since: Callable[[], float | None]) -> None:
        self._waiting_since = waiting_since
        self._lock = threading.Lock()
        self._looked_at = clock.monotonic()
        self._now_ms = self._looked_at * 1000

    def now_ms(self) -> float:
        """The time, in milliseconds; only differences mean something."""
        with self._lock:
            now = clock.monotonic()
            since = self._waiting_since()
            if since is None or now - since <= _AWAY_AFTER_S:
                self._now_ms += (now - self._looked_at) * 1000
            self._looked_at = now
            return self._now_ms
