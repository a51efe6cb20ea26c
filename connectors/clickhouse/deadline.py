"""An end for calls into ClickHouse in this process, which nothing can interrupt."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

_HUNG = 70  # EX_SOFTWARE: the supervisor starts the process again

logger = structlog.get_logger(__name__)


@contextmanager
def deadline(timeout: timedelta | None, what: str) -> Iterator[None]:
    """Ends the process with status 70 where the block takes longer; None waits without an end.

    Right for an insert and for the repair of one: the range was committed before, so the next start
    finds out which rows are stored and adds the others (R10).
    """
    if timeout is None:
        yield
        return
    timer = threading.Timer(timeout.total_seconds(), _end, (what, timeout))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(what: str, timeout: timedelta) -> None:
    logger.critical("a call hangs, starting anew", what=what, after_s=timeout.total_seconds())
    os._exit(_HUNG)
