"""Deleting claims that count for nothing any more."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from connectors.log.port import Log
from connectors.log.settled import settled_before_ms
from sealwax import clock
from sealwax.errors import SealwaxError

_EVERY_S: Final = 60.0
# A transaction of so many takes about 10 ms; in the pause another writer has its turn.
_MOST: Final = 1_000
_PAUSE_S: Final = 0.1

logger = structlog.get_logger(__name__)


class ClaimExpiry:
    """Deletes what expired before the oldest request that is not settled.

    A request that is read again after a crash finds its claim, and one that came twice finds the
    first one's: both were appended within the claim's life. Several processes may do it at once.
    """

    def __init__(
        self, log: Log, group: str, topics: Sequence[str], delete: Callable[[int, int], int]
    ) -> None:
        """Starts the thread.

        Args:
            log: The log of the requests.
            group: The flow that settles them.
            topics: Their topics.
            delete: Deletes claims that expired before a time, at most so many; says how many.
        """
        self._log = log
        self._group = group
        self._topics = topics
        self._delete = delete
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claim expiry", daemon=True)
        self._thread.start()

    def sweep(self) -> int:
        """Deletes what may be deleted now; how many claims."""
        before_ms = settled_before_ms(self._log, self._group, self._topics, clock.now_ms())
        deleted = 0
        while True:
            count = self._delete(before_ms, _MOST)
            deleted += count
            if count < _MOST or self._ended.wait(_PAUSE_S):
                return deleted

    def close(self) -> None:
        """Ends the thread. Idempotent."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            try:
                self.sweep()
            except (SealwaxError, OSError) as error:
                logger.warning("expired claims not deleted", error=str(error))
