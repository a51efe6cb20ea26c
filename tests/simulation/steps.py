"""The steps of a dataflow, each of which the scheduler may run next: sources, operators, sinks."""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from bytewax.inputs import StatefulSourcePartition, StatelessSourcePartition
from typing_extensions import override

from flows.operators.lane import Lane

_NEVER = float("inf")
_DRAIN_POLL_MS = 50.0  # below what counts as having been kept from asking

Source = StatefulSourcePartition[Any, Any] | StatelessSourcePartition[Any]


class Step(Protocol):
    """Something that can run when it has work."""

    def ready(self, now_ms: float) -> bool:
        """Whether it has work now."""
        ...

    def run(self, now_ms: float) -> bool:
        """Does some of it; whether anything came of it."""
        ...


class SourceStep(Step):
    """A source's partition. It is asked again only where the answer can be another one.

    Args:
        part: The partition, as the source built it.
        out: Where its items go.
        next_ms: When it may have something though nothing happened that it waits for.
    """

    def __init__(
        self, part: Source, out: "deque[Any]", next_ms: Callable[[float], float] = lambda _: _NEVER
    ) -> None:
        self._part = part
        self._out = out
        self._next_ms = next_ms
        self._not_before_ms = self._wake_ms = 0.0
        self.ended = False

    def sleep_until(self, at_ms: float) -> None:
        """It is asked nothing before then, whatever happens."""
        self._not_before_ms = self._wake_ms = at_ms

    def touch(self) -> None:
        """Something happened that it may have waited for."""
        self._wake_ms = self._not_before_ms

    @override
    def ready(self, now_ms: float) -> bool:
        return self._wake_ms <= now_ms and not self.ended

    def wake_ms(self, now_ms: float) -> float:
        """When it will have work again; infinity where it has some, or waits for others."""
        return self._wake_ms if self._wake_ms > now_ms and not self.ended else _NEVER

    @override
    def run(self, now_ms: float) -> bool:
        try:
            items = list(self._part.next_batch())
        except StopIteration:
            self.ended = True
            return False
        self._out.extend(items)
        self._wake_ms = 0.0 if items else self._next_ms(now_ms)
        return bool(items)

    def poll(self) -> None:
        """From now on, as in a drain, time alone can change the answer."""
        self._next_ms = lambda now_ms: now_ms + _DRAIN_POLL_MS
        self._wake_ms = 0.0


class QueueStep(Step):
    """An operator or a sink: takes any number of the items that wait for it, in order."""

    def __init__(self, random: Random, work: Callable[[list[Any]], object]) -> None:
        self.queue: deque[Any] = deque()
        self._random = random
        self._work = work

    @override
    def ready(self, now_ms: float) -> bool:
        return bool(self.queue)

    @override
    def run(self, now_ms: float) -> bool:
        count = self._random.randint(1, len(self.queue))
        self._work([self.queue.popleft() for _ in range(count)])
        return True


class Lanes:
    """What Bytewax does for `stateful_batch`: one lane a site, made when it is needed."""

    def __init__(self, make: Callable[[], Lane], out: "deque[Any]") -> None:
        self._make = make
        self._out = out
        self._lanes: dict[str, Lane] = {}

    def __call__(self, facts: Sequence[tuple[str, Any]]) -> None:
        by_site: dict[str, list[Any]] = {}
        for site, fact in facts:
            by_site.setdefault(site, []).append(fact)
        for site, values in by_site.items():
            lane = self._lanes.setdefault(site, self._make())
            decisions, discard = lane.on_batch(values)
            self._out.extend((site, decision) for decision in decisions)
            if discard:
                del self._lanes[site]
