"""The only reader of the clock. Everything below an entry point takes `now` as an argument.

Tests move the clock without sleeping: where `SEALWAX_TEST_CLOCK_FILE` names a file, the number of
seconds in it is added to all clocks of every process that has it in its environment. The file is
read again at most every 50 ms. They move together, so this is time that passes and no step of the
wall clock: for those there is tests/support/wall_clock.py.
"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

TEST_CLOCK_FILE = "SEALWAX_TEST_CLOCK_FILE"
_REREAD_AFTER_S = 0.05
_ONE_MOMENT_S = 0.05
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it


class _MovedClock:
    """The seconds by which tests have moved the clock; zero for everyone else."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._seconds = 0.0
        self._read_at = float("-inf")

    def seconds(self) -> float:
        if self._path is None:
            return 0.0
        monotonic_s = time.monotonic()
        if monotonic_s - self._read_at >= _REREAD_AFTER_S:
            self._read_at = monotonic_s
            try:
                self._seconds = float(self._path.read_text() or 0)
            except FileNotFoundError:
                self._seconds = 0.0
        return self._seconds


_MOVED = _MovedClock(os.environ.get(TEST_CLOCK_FILE))


def now_ms() -> int:
    """The wall clock in whole milliseconds since 1970, UTC."""
    return int((time.time() + _MOVED.seconds()) * 1000)


def now() -> datetime:
    """The wall clock, with its zone."""
    return datetime.fromtimestamp(now_ms() / 1000, tz=UTC)


def monotonic() -> float:
    """Seconds on a clock that no one sets; for limits and timeouts."""
    return time.monotonic() + _MOVED.seconds()


def since_boot() -> float:
    """Seconds on a clock that also runs while the machine is suspended; for ownership.

    Others take over meanwhile. A virtual machine that its host stops sees no clock go on.
    """
    return time.clock_gettime(_SINCE_BOOT) + _MOVED.seconds()


def both() -> tuple[int, float]:
    """`now_ms` and `monotonic` of the same moment, to compare them.

    A thread can be held up between reading the one and the other; then it reads again.
    """
    while True:
        moved_s = _MOVED.seconds()
        before_s = time.monotonic()
        wall_s = time.time()
        after_s = time.monotonic()
        if after_s - before_s < _ONE_MOMENT_S:
            return int((wall_s + moved_s) * 1000), before_s + moved_s


def wake_in(ms: int) -> datetime:
    """The time in `ms` milliseconds on the clock that Bytewax schedules by, which no test moves."""
    return datetime.fromtimestamp(time.time() + ms / 1000, tz=UTC)
