"""The messages that wait in a lane, in the order in which they go."""

import heapq
from collections import Counter, deque
from dataclasses import dataclass

from connectors.smtp.items import Queued
from sealwax.model.topics import Stream


@dataclass(slots=True)
class Waiting:
    """A message in a lane.

    Attributes:
        queued: The message.
        arrived_ms: When the lane saw it, wall clock.
        since_ms: Since when only the lane's limits keep it, on the lane's clock.
        gone: Whether it left already; queues drop it when they come upon it.
    """

    queued: Queued
    arrived_ms: int
    since_ms: float = 0.0
    gone: bool = False

    @property
    def ready_ms(self) -> int:
        """The same on the wall clock, as its row says it."""
        return max(self.arrived_ms, self.queued.delivery.not_before_ms)


class WaitingQueue:
    """Transactional before marketing, and older mail before newer, so that retries come first."""

    def __init__(self) -> None:
        self._ready: list[tuple[bool, int, int, Waiting]] = []
        self._later: list[tuple[int, int, Waiting]] = []
        self._arrivals: deque[Waiting] = deque()
        self._sequence = 0
        self._ready_count = 0

    @property
    def ready(self) -> int:
        """Messages that could go now."""
        return self._ready_count

    @property
    def empty(self) -> bool:
        """Whether nothing waits at all."""
        return not self._ready_count and not self._later

    @property
    def next_due_ms(self) -> int | None:
        """When the next held message is due."""
        return self._later[0][0] if self._later else None

    @property
    def oldest_ready_ms(self) -> float | None:
        """Since when the message waits that became ready first, on the lane's clock."""
        self._drop_gone()
        return self._arrivals[0].since_ms if self._arrivals else None

    def by_stream(self) -> tuple[Counter[str], Counter[str]]:
        """How many could go now, and how many later. For any thread: it looks at copies."""
        # A list is copied in one step; no other thread runs meanwhile.
        ready, later = self._ready.copy(), self._later.copy()
        return (
            Counter(entry[-1].queued.delivery.stream for entry in ready if not entry[-1].gone),
            Counter(entry[-1].queued.delivery.stream for entry in later),
        )

    def hold(self, waiting: Waiting, until_ms: int) -> None:
        """Keeps a message until then; `take_due` gives it back."""
        self._sequence += 1
        heapq.heappush(self._later, (until_ms, self._sequence, waiting))

    def take_due(self, now_ms: int) -> list[Waiting]:
        """The held messages whose time has come."""
        due = []
        while self._later and self._later[0][0] <= now_ms:
            due.append(heapq.heappop(self._later)[2])
        return due

    def make_ready(self, waiting: Waiting, since_ms: float) -> None:
        """Takes in a message that only the lane's limits keep, from now on."""
        waiting.since_ms = since_ms
        delivery = waiting.queued.delivery
        marketing = delivery.stream == Stream.MARKETING
        self._sequence += 1
        heapq.heappush(self._ready, (marketing, delivery.accepted_at_ms, self._sequence, waiting))
        self._arrivals.append(waiting)
        self._ready_count += 1

    def pop(self) -> Waiting:
        """The message that goes next; `ready` must not be 0."""
        while True:
            waiting = heapq.heappop(self._ready)[3]
            if not waiting.gone:
                return self._leave(waiting)

    def pop_oldest(self) -> Waiting:
        """The message that became ready first; `ready` must not be 0."""
        self._drop_gone()
        return self._leave(self._arrivals.popleft())

    def _leave(self, waiting: Waiting) -> Waiting:
        waiting.gone = True
        self._ready_count -= 1
        return waiting

    def _drop_gone(self) -> None:
        while self._arrivals and self._arrivals[0].gone:
            self._arrivals.popleft()
