"""Virtual time: a clock that moves when the simulation says so, and what is planned for later."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from sealwax import clock

START_MS = 1_795_000_000_000


class VirtualClock:
    """The clocks of sealwax.clock; all show the same time."""

    def __init__(self) -> None:
        self.at_ms = float(START_MS)

    def now_ms(self) -> int:
        return int(self.at_ms)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, tz=UTC)

    def monotonic(self) -> float:
        return self.at_ms / 1000

    def since_boot(self) -> float:
        return self.monotonic()

    def wake_in(self, ms: int) -> datetime:
        return self.now() + timedelta(milliseconds=ms)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Everything that reads sealwax.clock reads this one."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("now_ms", "now", "monotonic", "since_boot", "wake_in"):
                patch.setattr(clock, name, getattr(self, name))
            yield


class _Planned(NamedTuple):
    at_ms: float
    number: int  # keeps the order of what is planned for the same moment
    function: Callable[[], object]


class Agenda:
    """What will happen at which virtual moment."""

    def __init__(self, virtual: VirtualClock) -> None:
        self.clock = virtual
        self._heap: list[_Planned] = []
        self._number = 0

    def after(self, ms: float, function: Callable[[], object]) -> float:
        """Plans a call; when it is due."""
        self._number += 1
        at_ms = self.clock.at_ms + ms
        heapq.heappush(self._heap, _Planned(at_ms, self._number, function))
        return at_ms

    @property
    def next_ms(self) -> float:
        """When the next call is due; infinity where none is planned."""
        return self._heap[0].at_ms if self._heap else float("inf")

    def advance(self) -> None:
        """Moves the clock to the next call, and makes it."""
        planned = heapq.heappop(self._heap)
        self.clock.at_ms = max(self.clock.at_ms, planned.at_ms)
        planned.function()
