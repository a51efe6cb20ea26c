"""Answers of blocking look-ups, kept for a few seconds."""

import asyncio
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from sealwax import clock

K = TypeVar("K")
V = TypeVar("V")


class _Kept(NamedTuple, Generic[V]):
    value: V
    until: float


class LookUps(Generic[K, V]):
    """Looks values up in a thread, each key once at a time, and keeps what was found.

    What was not found (None) is asked for again each time, so that a new key or domain works at
    once. Used from one event loop.
    """

    def __init__(self, load: Callable[[K], V | None], *, keep_s: float, size: int) -> None:
        """Keeps at most `size` values, each for `keep_s` seconds."""
        self._load = load
        self._keep_s = keep_s
        self._size = size
        self._kept: dict[K, _Kept[V]] = {}
        self._running: dict[K, asyncio.Task[V | None]] = {}

    async def get(self, key: K) -> V | None:
        """The value of a key, or None; raises what the look-up raises."""
        kept = self._kept.get(key)
        if kept is not None and clock.monotonic() < kept.until:
            return kept.value
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = asyncio.create_task(self._look_up(key))
        # A client that goes away must not end the look-up for those who wait with it.
        return await asyncio.shield(running)

    async def _look_up(self, key: K) -> V | None:
        try:
            # Before the look-up: nothing is kept for longer than it was seen to hold.
            until = clock.monotonic() + self._keep_s
            value = await asyncio.to_thread(self._load, key)
        finally:
            del self._running[key]
        if value is None:
            self._kept.pop(key, None)
            return None
        if len(self._kept) >= self._size:
            self._kept.clear()  # none of them is kept for long anyway
        self._kept[key] = _Kept(value, until)
        return value
