"""Waiting for something to become true, with an end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_FIRST_S = 0.01

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout_s: float, what: str, every_s: float = 0.1) -> T:
    """Calls `predicate` until it is truthy and returns its value; fails after `timeout_s`.

    It is asked often at first, and then each `every_s`: to ask shares the cores with what is waited
    for, so what takes a while to find out is asked less often.
    """
    deadline, pause_s = time.monotonic() + timeout_s, min(_FIRST_S, every_s)
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}; last seen: {value!r}")
        time.sleep(pause_s)
        pause_s = min(every_s, 1.2 * pause_s)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Fails where the block takes longer."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds
