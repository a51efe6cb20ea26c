"""Commits of analytics while it runs."""

import threading
from collections.abc import Collection, Mapping

import structlog

from connectors.clickhouse.burial import GROUP
from connectors.log.port import Committed, Log, TopicPartition
from sealwax import clock
from sealwax.errors import SealwaxError

# A cluster forgets an offset some time after it was committed, where its group has no members.
_RENEW_EVERY_S = 600.0

logger = structlog.get_logger(__name__)


class Commits:
    """Where the sinks of a process commit. Thread-safe."""

    def __init__(self, log: Log, sources: Collection[TopicPartition]) -> None:
        """Takes the log, and all partitions that the process reads."""
        self._log = log
        self._sources = sources
        self._lock = threading.Lock()
        self._renewed_at = clock.monotonic()

    def commit(self, positions: Mapping[TopicPartition, Committed], *, durable: bool) -> None:
        """As the log's."""
        with self._lock:
            self._log.commit(GROUP, positions, durable=durable)

    def is_time_to_renew(self) -> bool:
        """Whether what is committed was not renewed for ten minutes."""
        return clock.monotonic() - self._renewed_at >= _RENEW_EVERY_S

    def renew(self) -> None:
        """Commits what is committed once more, of partitions that are stopped too."""
        self._renewed_at = clock.monotonic()
        try:
            with self._lock:  # what a sink commits meanwhile must not be undone
                committed = self._log.committed_all(GROUP, self._sources)
                positions = {tp: at for tp, at in committed.items() if at is not None}
                self._log.commit(GROUP, positions, durable=False)
        except (SealwaxError, OSError) as error:
            logger.warning("offsets were not renewed, tried again later", error=str(error))
