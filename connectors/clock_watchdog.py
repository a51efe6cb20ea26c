"""A thread that watches the clocks, since Bytewax schedules by the wall clock (R11)."""

import threading
from collections.abc import Callable

import structlog

from connectors.log.stamps import FreshStamps
from sealwax import clock
from sealwax.policy.clock_watch import ClockWatch, Sign, first_look, look
from sealwax.store.clock_file import ClockFile, Suspicion

_LOOK_EVERY_S = 0.25
_STAMPS_EVERY_S = 10.0

logger = structlog.get_logger(__name__)


class ClockWatchdog:
    """Looks at both clocks every 250 ms.

    A step back calls `on_back`, once, in the watchdog's thread. A step forward makes the clock
    suspect for all processes of the data directory, until ten minutes have passed in which it
    agreed with what the log stamps, or an operator accepts it.
    """

    def __init__(self, file: ClockFile, stamps: FreshStamps, on_back: Callable[[], None]) -> None:
        self._file = file
        self._stamps = stamps
        self._on_back = on_back
        self._suspect = file.suspicion() is not None
        self._stamps_at = clock.monotonic()
        self._asking: threading.Thread | None = None
        self._stamp_ms: int | None = None
        wall_ms, monotonic_s = clock.both()
        self._last = first_look(wall_ms, monotonic_s * 1000)

    def start(self) -> None:
        """Starts the thread, which ends with the process."""
        threading.Thread(target=self._run, name="clock", daemon=True).start()

    def suspect(self) -> bool:
        """Whether the wall clock is not to be trusted. Thread-safe.

        Looks by itself: a decision may fall between a step and the thread's next look.
        """
        if self._suspect:
            return True
        wall_ms, monotonic_s = clock.both()
        sign, _ = look(self._last, wall_ms=wall_ms, monotonic_ms=monotonic_s * 1000)
        return sign is Sign.WENT_FORWARD

    def _run(self) -> None:
        never = threading.Event()
        while not never.wait(_LOOK_EVERY_S):
            try:
                sign, self._last = self._look(self._last)  # last: `suspect` is true by then
            except Exception:
                logger.exception("the clock could not be looked at")  # the disk is full, say
                continue
            if sign is Sign.WENT_BACK:
                self._on_back()
                return

    def _look(self, last: ClockWatch) -> tuple[Sign, ClockWatch]:
        stamp_ms = self._fresh_stamp()
        wall_ms, monotonic_s = clock.both()
        monotonic_ms = monotonic_s * 1000
        sign, watch = look(last, wall_ms=wall_ms, monotonic_ms=monotonic_ms, stamp_ms=stamp_ms)
        step_ms = round((wall_ms - last.wall_ms) - (monotonic_ms - last.monotonic_ms))
        if sign is Sign.WENT_BACK:
            logger.error("the clock went back, starting anew", step_ms=step_ms)
            return sign, watch
        if sign is Sign.WENT_FORWARD:
            logger.error(
                "the clock went forward, no mail expires until it is trusted: "
                "`sealwax doctor --accept-clock`",
                step_ms=step_ms,
            )
            self._file.suspect(Suspicion(step_ms, wall_ms))
        was, self._suspect = self._suspect, self._file.suspicion() is not None
        if self._suspect and watch.agreed_for_long:
            self._file.accept()
            self._suspect = False
        if was and not self._suspect:
            logger.warning("the clock is trusted again")
        return sign, watch

    def _fresh_stamp(self) -> int | None:
        """What the log said, once. It is asked only while it matters, and not at each look.

        By a thread of its own: a log that is away takes its time, and a step back has to be seen.
        """
        now = clock.monotonic()
        if self._asking is not None:
            if self._asking.is_alive():
                return None
            self._asking = None
            return self._stamp_ms
        if self._suspect and now - self._stamps_at >= _STAMPS_EVERY_S:
            self._stamps_at, self._stamp_ms = now, None
            self._asking = threading.Thread(target=self._ask_log, name="stamps", daemon=True)
            self._asking.start()
        return None

    def _ask_log(self) -> None:
        try:
            self._stamp_ms = self._stamps.take()
        except Exception:
            logger.exception("the log's stamps could not be read, tried again")
