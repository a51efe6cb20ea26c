"""Waiting for something to become true, with an end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.02) -> T:
    """Calls `predicate` until it is truthy and returns its value; fails after `timeout_s`.

    What takes a while to find out is asked less often: it shares the cores with what it waits for.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}; last seen: {value!r}")
        time.sleep(every_s)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Fails where the block takes longer."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds
