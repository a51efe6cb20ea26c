"""Between the dataflow and the SMTP engine: jobs in, results out, sessions held until durable."""

import heapq
import threading
from collections import Counter, deque
from concurrent.futures import Future
from itertools import count

from connectors.log.outcomes import OutcomeWriter
from connectors.smtp import outcomes
from connectors.smtp.items import Attempted, Fact, Freed, Queued, Send, Tick
from connectors.smtp.leases import Leases
from connectors.smtp.waiting_clock import WaitingClock
from sealwax import clock
from sealwax.smtp.engine import Job, Result
from sealwax.smtp.route import Routes, is_smart_host

# The process counts as stalled when sessions work and none has ended for this long, with hosts of
# so many sites: fewer are tarpits, and what waits for them must not keep mail of others from being
# read.
_STALLED_AFTER_S = 5.0
_STALLED_SITES = 8


class SmtpBridge:
    """Turns decisions into jobs and results into facts. Thread-safe.

    A session that has a result waits on the future that `on_result` returns, until the outcome of
    its message is durable (R2): so a crash doubles at most one message a session.

    Attributes:
        in_doubt: How many attempts ended after the final dot without a reply.
    """

    def __init__(self, writer: OutcomeWriter, routes: Routes, leases: Leases) -> None:
        self._writer = writer
        self._routes = routes
        self._leases = leases
        self._facts: deque[tuple[str, Fact]] = deque()
        self._held: dict[int, tuple[Send, Future[None]]] = {}
        self._ids = count()
        self._ended_at = clock.monotonic()
        self._in_sessions: Counter[str] = Counter()  # by site
        self._lock = threading.Lock()
        self._let_go = False
        self.in_doubt = 0
        self.waiting_clock = WaitingClock(lambda: writer.waiting_since)

    def job(self, send: Send) -> Job:
        """What the engine needs to know for an attempt."""
        with self._lock:
            if not self._in_sessions:
                self._ended_at = clock.monotonic()
            self._in_sessions[send.queued.site] += 1
        delivery = send.queued.delivery
        return Job(
            handle=send,
            site=send.queued.site,
            domain=delivery.rcpt_domain,
            route=self._routes.route(delivery.rcpt_domain),
            source_ip=delivery.source_ip,
            reverse_path=delivery.reverse_path,
            rcpt=delivery.rcpt,
            message=delivery.message,
            permits=send.permits,
            most_messages=send.terms.most_messages,
            most_connections=send.terms.most_connections,
            idle_s=send.terms.idle_s,
        )

    def on_result(self, job: Job, result: Result) -> Future[None]:
        """Called by the engine; the future ends when the outcome is durable."""
        send: Send = job.handle
        held: Future[None] = Future()
        with self._lock:
            self._in_sessions[send.queued.site] -= 1
            if not self._in_sessions[send.queued.site]:
                del self._in_sessions[send.queued.site]
            self.in_doubt += result.in_doubt
        self._ended_at = clock.monotonic()
        attempted = Attempted(send, result, next(self._ids))
        if result.accepted:
            topic, entry = outcomes.delivered(send, result)

            def durable() -> None:
                self._leases.ended(send.queued.source)
                # In this order: the lane hears of the message before it hears of its connection.
                self._facts.append((send.queued.site, attempted))
                held.set_result(None)

            self._writer.write([(topic, [entry])], [send.queued.source], durable)
            return held
        with self._lock:
            if self._let_go:
                held.set_result(None)
                return held
            self._held[attempted.attempt_id] = send, held
        self._facts.append((send.queued.site, attempted))
        return held

    def release(self, attempt_id: int) -> None:
        """Lets the session of an attempt go on; its outcome is durable."""
        send, held = self._held.pop(attempt_id, (None, None))
        if send is not None and held is not None:  # else all were let go
            self._leases.ended(send.queued.source)
            held.set_result(None)

    def let_go(self) -> None:
        """For a process whose dataflow is not called any more: no session waits for a lane.

        What was not delivered has no outcome then. It is attempted again after the restart, by its
        record or by the lease that stands for it.
        """
        with self._lock:
            self._let_go = True
        for attempt_id in list(self._held):
            _, held = self._held.pop(attempt_id, (None, None))
            if held is not None:  # else it was released just now
                held.set_result(None)

    def on_hanging(self, job: Job, until_ms: int) -> None:
        """Called by the engine for an attempt that takes long: a lease takes its record's place."""
        self._leases.grant(job.handle, until_ms)

    def on_free(self, site: str, connections: int) -> None:
        """Called by the engine: so many connections of the site are gone, or came to nothing."""
        self._facts.append((site, Freed(connections)))

    def arrive(self, messages: list[Queued]) -> None:
        """Messages whose sites were looked up, for their lanes."""
        self._facts.extend((queued.site, queued) for queued in messages)

    def take_facts(self, most: int) -> list[tuple[str, Fact]]:
        """Facts for the lanes, oldest first, each once."""
        taken = []
        for _ in range(min(most, len(self._facts))):
            try:
                taken.append(self._facts.popleft())
            except IndexError:
                break  # another worker took it
        return taken

    @property
    def busy(self) -> bool:
        """Whether facts wait, sessions wait for an outcome, or outcomes for the log."""
        if self._let_go:
            return bool(self._writer.pending)
        return bool(self._facts or self._held or self._writer.pending)

    def stalled(self) -> bool:
        """Whether sessions work but none has ended for a while, wherever the mail goes."""
        if clock.monotonic() - self._ended_at <= _STALLED_AFTER_S:
            return False
        with self._lock:
            hanging = list(self._in_sessions)
        return len(hanging) >= _STALLED_SITES or any(map(is_smart_host, hanging))


class Timers:
    """The ticks that lanes asked for: one heap for all lanes of a process. Thread-safe."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def wake(self, at_ms: float, site: str) -> None:
        """Asks for a Tick of `site` at a monotonic time in milliseconds."""
        with self._lock:
            heapq.heappush(self._heap, (at_ms, site))

    def take_due(self, now_ms: float) -> list[tuple[str, Fact]]:
        """The ticks whose time has come."""
        due: list[tuple[str, Fact]] = []
        if not self._heap or self._heap[0][0] > now_ms:
            return due
        with self._lock:
            while self._heap and self._heap[0][0] <= now_ms:
                site = heapq.heappop(self._heap)[1]
                due.append((site, Tick(site)))
        return due
