"""What every flow's process is made of: its log, its ownership, its way to stop."""

import atexit
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog

from connectors.log import LogSettings, open_log
from connectors.log.ownership import FileOwnership
from connectors.log.port import Log
from connectors.log.suspects import Suspects
from sealwax import clock
from sealwax.errors import SealwaxError
from sealwax.model import topics
from sealwax.store.processes import ProcessFiles

logger = structlog.get_logger(__name__)


class FlowProcess:
    """One process of a flow.

    Made from `flow()`, before Bytewax starts: takes ownership, opens the log and creates missing
    topics, in this order, so that nothing is read that another process still works on. SIGTERM and
    SIGINT only set a flag: the log's sources end at once, the work in flight ends as its owner's
    `on_drain` hook says, and the dataflow ends when all of it has been quiet for a moment.
    """

    def __init__(self, name: str, data_dir: Path, log: LogSettings) -> None:
        """Exits with status 1 and one sentence where the flow may not start here."""
        self.name = name
        self.suspects = Suspects(data_dir / "suspects", name)
        self._files = ProcessFiles(data_dir)
        self._asked = threading.Event()
        self._on_drain: list[Callable[[], object]] = []
        self._on_close: list[Callable[[], None]] = []
        self._in_flight: list[Callable[[], bool]] = []
        self._draining = 0
        self._busy_at = clock.monotonic()
        self._ready = False
        try:
            self._ownership = FileOwnership(data_dir / "locks", name)
            self.numbers = tuple(self._ownership.acquire(range(log.partitions)))
            self.log: Log = open_log(log)
            self.log.create_topics(topics.ALL)
        except (SealwaxError, OSError) as error:
            sys.exit(f"sealwax {name}: {error}")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._drain, name="drain", daemon=True).start()
        atexit.register(self._close)

    def draining(self) -> bool:
        """Whether the process was asked to stop."""
        return self._asked.is_set()

    def quiet(self, seconds: float) -> bool:
        """Whether the process drains and nothing has been in flight for that long."""
        now = clock.monotonic()
        if not self._asked.is_set() or self._draining or any(busy() for busy in self._in_flight):
            self._busy_at = now
        return now - self._busy_at >= seconds

    def valid_until(self) -> float:
        """Until when this process owns its partitions, on the monotonic clock."""
        return self._ownership.valid_until()

    def on_drain(self, hook: Callable[[], object]) -> None:
        """Registers what ends work in flight when the process is asked to stop; may block."""
        self._draining += 1
        self._on_drain.append(hook)

    def in_flight(self, busy: Callable[[], bool]) -> None:
        """Registers a question: is there work of yours that must end before the dataflow does?"""
        self._in_flight.append(busy)

    def on_close(self, hook: Callable[[], None]) -> None:
        """Registers what is called, last first, when the dataflow has ended."""
        self._on_close.append(hook)

    def running(self) -> None:
        """Marks the process ready; called by the sources when they are asked for items."""
        if not self._ready:
            self._ready = True
            self._files.mark_ready(self.name)
            logger.info("ready")

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self._asked.set()

    def _drain(self) -> None:
        self._asked.wait()
        logger.info("draining")
        for hook in self._on_drain:
            hook()
            self._draining -= 1

    def _close(self) -> None:
        for hook in reversed(self._on_close):
            hook()
        self.suspects.close(asked=self._asked.is_set())
        self.log.close()
        self._ownership.close()
        self._files.mark_stopped(self.name)
        logger.info("stopped")
