"""The messages that wait in a lane, in the order in which they go."""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Collection
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
        apart: Whether it waits for its domain, beside the others.
    """

    queued: Queued
    arrived_ms: int
    since_ms: float = 0.0
    gone: bool = False
    apart: bool = False

    @property
    def domain(self) -> str:
        """Its recipient's."""
        return self.queued.delivery.rcpt_domain

    @property
    def ready_ms(self) -> int:
        """The same on the wall clock, as its row says it."""
        return max(self.arrived_ms, self.queued.delivery.not_before_ms)


_Entry = tuple[bool, int, int, Waiting]


class WaitingQueue:
    """Transactional before marketing, and older mail before newer, so that retries come first.

    Mail to a domain that may not go now waits apart, so that nobody looks through it for the next
    one of another domain.
    """

    def __init__(self) -> None:
        self._ready: list[_Entry] = []
        self._apart: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._apart_count: Counter[str] = Counter()
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
        for apart in list(self._apart.values()):
            ready += apart
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
        heapq.heappush(self._ready, self._entry(waiting))
        self._arrivals.append(waiting)
        self._ready_count += 1

    def apart(self, domains: Collection[str]) -> int:
        """How many of those that could go wait apart for one of these domains."""
        return sum(self._apart_count[domain] for domain in domains)

    def next(self, blocked: Collection[str] = ()) -> Waiting | None:
        """The message that goes next, to a domain that is not blocked; None where there is none.

        It stays: see `leave` and `set_apart`.
        """
        while True:
            place = self._next_place(blocked)
            if place is None:
                return None
            waiting = place[0][3]
            if waiting.gone:
                heapq.heappop(place)
            elif waiting.domain in blocked:
                self.set_apart(waiting)
            else:
                return waiting

    def set_apart(self, waiting: Waiting) -> None:
        """Lets it wait for its domain, beside the others; it must be the next one."""
        if not waiting.apart:
            heapq.heappush(self._apart[waiting.domain], heapq.heappop(self._ready))
            waiting.apart = True
            self._apart_count[waiting.domain] += 1

    def _next_place(self, blocked: Collection[str]) -> list[_Entry] | None:
        """The heap whose first message goes before those of all others."""
        best = self._ready or None
        for domain, entries in list(self._apart.items()):
            while entries and entries[0][3].gone:
                heapq.heappop(entries)
            if not entries:
                del self._apart[domain]
            elif domain not in blocked and (best is None or entries[0] < best[0]):
                best = entries
        return best

    def _entry(self, waiting: Waiting) -> _Entry:
        delivery = waiting.queued.delivery
        self._sequence += 1
        marketing = delivery.stream == Stream.MARKETING
        return marketing, delivery.accepted_at_ms, self._sequence, waiting

    def pop_oldest(self) -> Waiting:
        """The message that became ready first; `ready` must not be 0."""
        self._drop_gone()
        return self.leave(self._arrivals.popleft())

    def leave(self, waiting: Waiting) -> Waiting:
        """Takes out a message that goes, or goes elsewhere."""
        waiting.gone = True
        self._ready_count -= 1
        if waiting.apart:
            self._apart_count[waiting.domain] -= 1
            if not self._apart_count[waiting.domain]:
                del self._apart_count[waiting.domain]
        return waiting

    def _drop_gone(self) -> None:
        while self._arrivals and self._arrivals[0].gone:
            self._arrivals.popleft()
