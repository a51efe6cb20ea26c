"""Signals to stop: heard also while native code keeps Python waiting, and kept over an exec."""

import signal
import threading
from collections.abc import Callable

_STOPS = (signal.SIGTERM, signal.SIGINT)
_LOOK_S = 0.2


class Stops:
    """Calls `on_stop` for each signal to stop, mostly from a thread that waits for them.

    They are blocked in the thread that makes this and in those that it starts, so what comes after
    `keep` stays pending. A handler is there for threads that are older.
    """

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._kept = threading.Event()
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        for number in _STOPS:
            signal.signal(number, lambda *_: on_stop())
        self._thread = threading.Thread(target=self._wait, name="signals", daemon=True)
        self._thread.start()

    def keep(self) -> None:
        """Leaves what comes from now on to the program that runs in place of this one."""
        self._kept.set()
        self._thread.join()

    def _wait(self) -> None:
        # A wait in the call itself would end with a signal that nobody sent where the process is
        # stopped in it and continued after its time (CPython 3.11).
        while not self._kept.is_set():
            if signal.sigtimedwait(_STOPS, 0):
                self._on_stop()
            self._kept.wait(_LOOK_S)
