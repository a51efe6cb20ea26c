"""Writing outcomes: appended until they are durable, then acknowledged to their source."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import structlog

from connectors.log.body import split_body
from connectors.log.dead import by_reference, dead_entry, is_large
from connectors.log.port import Entry, Log, Record, TopicPartition
from connectors.log.settle import source_of
from connectors.log.settling import Settling
from connectors.records import failed_row
from sealwax import clock
from sealwax.errors import LogClosedError, RecordTooLargeError
from sealwax.model.delivery import Position
from sealwax.model.topics import BODY, DEAD, READY, RETRY

TOO_LARGE = "too_large"
_AGAIN_AFTER_S = 1.0
_MESSAGES = frozenset({*READY, *RETRY})

# Calls the function after that many seconds, without blocking.
Later = Callable[[float, Callable[[], None]], None]

logger = structlog.get_logger(__name__)


def _in_a_thread(seconds: float, function: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()


@dataclass(slots=True)
class _Countdown:
    """Appends that must be durable before some records count as settled."""

    left: int
    positions: Sequence[Position]
    then: Callable[[], None] | None


class OutcomeWriter:
    """Appends the outcomes of a flow. Thread-safe.

    An append that the log refuses (disk full, log away) is repeated every second for as long as
    the process lives: the record that it settles stays unsettled, so a crash loses nothing. Only
    what is larger than its topic takes is given up: its source goes to `email.dead`.
    """

    def __init__(self, settling: Settling, later: Later = _in_a_thread) -> None:
        """Takes where acknowledgements go, and what calls a function after some seconds."""
        self._log: Log = settling.log
        self._flow = settling.spec.name
        self._later = later
        self._acks = settling.acks
        self._writers = settling.writers
        self._headers: dict[int, tuple[str, bytes]] = {}
        self._lock = threading.Lock()
        self._pending: dict[int, float] = {}  # append -> since when, oldest first
        self._numbers = count()

    @property
    def pending(self) -> int:
        """Appends that are not durable yet."""
        return len(self._pending)

    @property
    def waiting_since(self) -> float | None:
        """Since when the oldest of them waits, monotonic; None where there is none."""
        with self._lock:
            return next(iter(self._pending.values()), None)

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
        if self._writers:
            appends = [(topic, [self._signed(e) for e in entries]) for topic, entries in appends]
        if not appends:
            self._complete(countdown)
            return
        now = clock.monotonic()
        numbers = [next(self._numbers) for _ in appends]
        with self._lock:
            self._pending.update(dict.fromkeys(numbers, now))
        for number, (topic, entries) in zip(numbers, appends, strict=True):
            self._append(number, topic, entries, countdown)

    def _signed(self, entry: Entry) -> Entry:
        """The entry with the name of its writer, by the partition number of its source."""
        settles = source_of(entry.headers)
        header = self._header(settles[0].partition) if settles else None
        return entry if header is None else entry._replace(headers=(*entry.headers, header))

    def _header(self, number: int) -> tuple[str, bytes] | None:
        # In a cluster the owner may be another process; it is known before its records come.
        header = self._headers.get(number)
        if header is None and number in self._writers:
            header = self._headers[number] = self._writers[number].header()
        return header

    def _append(
        self, number: int, topic: str, entries: Sequence[Entry], countdown: _Countdown
    ) -> None:
        large = next((n for n, entry in enumerate(entries) if is_large(topic, entry)), None)
        if large is not None:
            self._append_body(number, topic, entries, large, countdown)
            return

        def on_durable(result: Sequence[int] | Exception) -> None:
            if isinstance(result, RecordTooLargeError):
                self._later(0, lambda: self._divide(number, topic, entries, countdown, result))
                return
            if isinstance(result, Exception):
                self._again(number, topic, entries, countdown, result)
                return
            with self._lock:
                del self._pending[number]
                countdown.left -= 1
                complete = countdown.left == 0
            if complete:
                self._complete(countdown)

        self._log.append(topic, entries, on_durable)

    def _append_body(
        self,
        number: int,
        topic: str,
        entries: Sequence[Entry],
        large: int,
        countdown: _Countdown,
    ) -> None:
        """Appends the value of one entry to `email.body`, and all entries when it is durable."""
        entry = entries[large]
        body = split_body(entry.partition, entry.value or b"")

        def on_durable(result: Sequence[int] | Exception) -> None:
            if isinstance(result, Exception):
                self._again(number, topic, entries, countdown, result)
                return
            named = by_reference(entry, body.stored_at(result))
            self._append(number, topic, [*entries[:large], named, *entries[large + 1 :]], countdown)

        self._log.append(BODY, body.chunks, on_durable)

    def _divide(
        self,
        number: int,
        topic: str,
        entries: Sequence[Entry],
        countdown: _Countdown,
        error: RecordTooLargeError,
    ) -> None:
        """Appends each by itself, and in place of one that its topic never takes a dead record."""
        if len(entries) == 1:
            self._put_aside(number, topic, entries, countdown, error)
            return
        numbers = [number, *(next(self._numbers) for _ in entries[1:])]
        with self._lock:
            countdown.left += len(entries) - 1
            self._pending.update(dict.fromkeys(numbers[1:], clock.monotonic()))
        for each, entry in zip(numbers, entries, strict=True):
            self._append(each, topic, [entry], countdown)

    def _put_aside(
        self,
        number: int,
        topic: str,
        entries: Sequence[Entry],
        countdown: _Countdown,
        error: RecordTooLargeError,
    ) -> None:
        """Appends a dead record of the source: unlike what became of it, it fits."""
        entry = entries[0]
        settles = source_of(entry.headers)
        if settles is None or topic == DEAD:
            self._again(number, topic, entries, countdown, error)
            return
        source, _ = settles
        try:
            tp = TopicPartition(source.topic, source.partition)
            (record,) = self._log.scan(tp, source.offset, source.offset + 1)
        except Exception as away:  # noqa: BLE001 - whatever it is, the record stays unsettled
            self._again(number, topic, entries, countdown, away)
            return
        detail = f"for {topic}: {error}"
        row = b""
        if topic in _MESSAGES:
            outcome = Record(topic, entry.partition, 0, None, None, entry.headers, record.stamp_ms)
            row = failed_row(outcome, TOO_LARGE, detail, at_ms=clock.now_ms())
        dead = dead_entry(record, TOO_LARGE, detail, flow=self._flow, row=row)
        self._append(number, DEAD, [self._signed(dead)], countdown)

    def _again(
        self,
        number: int,
        topic: str,
        entries: Sequence[Entry],
        countdown: _Countdown,
        error: Exception,
    ) -> None:
        if isinstance(error, LogClosedError):
            return
        logger.error("append failed, tried again", topic=topic, error=str(error))
        self._later(_AGAIN_AFTER_S, lambda: self._append(number, topic, entries, countdown))

    def _complete(self, countdown: _Countdown) -> None:
        self._acks.extend(countdown.positions)
        if countdown.then is not None:
            countdown.then()
