"""Writing outcomes: appended until they are durable, then acknowledged to their source."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from connectors.log.body import split_body
from connectors.log.dead import by_reference, is_large
from connectors.log.port import Entry, Log
from connectors.log.settling import Settling
from sealwax.errors import LogClosedError
from sealwax.model.delivery import Position
from sealwax.model.topics import BODY

_AGAIN_AFTER_S = 1.0

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Countdown:
    """Appends that must be durable before some records count as settled."""

    left: int
    positions: Sequence[Position]
    then: Callable[[], None] | None


class OutcomeWriter:
    """Appends the outcomes of a flow. Thread-safe.

    An append that the log refuses (disk full, log away) is repeated every second for as long as
    the process lives: the record that it settles stays unsettled, so a crash loses nothing.
    """

    def __init__(self, settling: Settling) -> None:
        self._log: Log = settling.log
        self._acks = settling.acks
        self._lock = threading.Lock()
        self._pending = 0

    @property
    def pending(self) -> int:
        """Appends that are not durable yet."""
        return self._pending

    def write(
        self,
        appends: Sequence[tuple[str, Sequence[Entry]]],
        settles: Sequence[Position],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Appends to one or more topics; once all is durable acknowledges and calls `then`.

        Args:
            appends: Topic and entries, at most one pair a topic.
            settles: Source records whose outcome is complete with these appends.
            then: Called from a thread of the log; must not block or raise.
        """
        countdown = _Countdown(len(appends), settles, then)
        if not appends:
            self._complete(countdown)
            return
        with self._lock:
            self._pending += len(appends)
        for topic, entries in appends:
            self._append(topic, entries, countdown)

    def _append(self, topic: str, entries: Sequence[Entry], countdown: _Countdown) -> None:
        large = next((n for n, entry in enumerate(entries) if is_large(topic, entry)), None)
        if large is not None:
            self._append_body(topic, entries, large, countdown)
            return

        def on_durable(result: Sequence[int] | Exception) -> None:
            if isinstance(result, Exception):
                self._again(topic, entries, countdown, result)
                return
            with self._lock:
                self._pending -= 1
                countdown.left -= 1
                complete = countdown.left == 0
            if complete:
                self._complete(countdown)

        self._log.append(topic, entries, on_durable)

    def _append_body(
        self, topic: str, entries: Sequence[Entry], large: int, countdown: _Countdown
    ) -> None:
        """Appends the value of one entry to `email.body`, and all entries when it is durable."""
        entry = entries[large]
        body = split_body(entry.partition, entry.value or b"")

        def on_durable(result: Sequence[int] | Exception) -> None:
            if isinstance(result, Exception):
                self._again(topic, entries, countdown, result)
                return
            named = by_reference(entry, body.stored_at(result))
            self._append(topic, [*entries[:large], named, *entries[large + 1 :]], countdown)

        self._log.append(BODY, body.chunks, on_durable)

    def _again(
        self, topic: str, entries: Sequence[Entry], countdown: _Countdown, error: Exception
    ) -> None:
        if isinstance(error, LogClosedError):
            return
        logger.error("append failed, tried again", topic=topic, error=str(error))
        timer = threading.Timer(_AGAIN_AFTER_S, self._append, (topic, entries, countdown))
        timer.daemon = True
        timer.start()

    def _complete(self, countdown: _Countdown) -> None:
        self._acks.extend(countdown.positions)
        if countdown.then is not None:
            countdown.then()
