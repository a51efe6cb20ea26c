"""One lane: what waits for a site, and the sessions that work for it.

Decisions are sealwax.policy's; this file keeps their state and hands out their results. Nothing
here is part of a snapshot: what waits is unsettled in the log and is read again after a crash, and
sessions and rates start anew.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from bytewax.operators import StatefulBatchLogic
from typing_extensions import override

from connectors.smtp.items import (
    Attempted,
    Decision,
    Fact,
    Freed,
    LetGo,
    Postpone,
    Queued,
    Send,
    Terms,
    Tick,
    Verdict,
)
from flows.operators.limit_set import LimitSet
from flows.operators.waiting import Waiting, WaitingQueue
from sealwax.model.event import Cause, Kind, Wait
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.classifier import Classifier
from sealwax.policy.delay import IN_MEMORY_MS
from sealwax.policy.lane import MAX_WAITING_MS, SHARED_IDLE_S
from sealwax.policy.parking import next_slot, per_minute, slot_room, slot_start_ms
from sealwax.policy.retry import Bounce, Expire, Retry, RetrySettings, Tried, fate_of
from sealwax.policy.shaping.shape import Bound, Scope, Shape, What
from sealwax.store.limits import InProcessLimits, Limits

# A lane with nothing to remember is let go of after this.
_IDLE_MS = 600_000
_NEVER = float("inf")
# What those wait for that come while all that waited were let go: the next connection.
_ALL_WENT = Bound(Scope.SITE, What.CONNECTIONS, 0)
# Connections of a lane that has no limit of them.
_UNLIMITED = 1_000
_RULE_OF_DNS = "dns.mx"
_CAUSE = {
    What.RATE: Cause.RATE,
    What.CONNECTIONS: Cause.CONNECTIONS,
    What.CONNECTION_RATE: Cause.CONNECTIONS,
}


class Clock(Protocol):
    """The two clocks of sealwax.clock."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that no one sets."""
        ...


@dataclass(frozen=True, slots=True)
class LanePorts:
    """What every lane of a process is given.

    Attributes:
        shape: The first message of a site -> the limits of the site.
        domain_bounds: Recipient domain -> the limits of its own; mostly none.
        retry: The retry schedule.
        clock: The clocks.
        clock_trusted: Whether the wall clock is; where not, no message expires.
        waiting_ms: The clock by which messages wait for the lane's limits: it stands still while
            the log is away.
        draw: A number in [0, 1).
        wake: Asks for a Tick of a site at a monotonic time in milliseconds.
        stalled: Whether nothing moves in the whole process (own network, log away): then nobody
            is moved to a delay topic for having waited.
        shared: Keeps the limits, for all lanes that name them in whatever process.
        classifier: Knows what replies mean.
        forget: Called with the site of a lane that is let go of.
        lanes: Those of the process that remember something, for `waiting_in`.
    """

    shape: Callable[[Queued], Shape]
    retry: RetrySettings
    clock: Clock
    clock_trusted: Callable[[], bool]
    waiting_ms: Callable[[], float]
    draw: Callable[[], float]
    wake: Callable[[float, str], None]
    stalled: Callable[[], bool]
    shared: Limits = field(default_factory=InProcessLimits)
    classifier: Classifier = field(default_factory=builtin)
    domain_bounds: Callable[[str], tuple[Bound, ...]] = lambda _domain: ()
    forget: Callable[[str], None] = lambda _site: None
    lanes: set["Lane"] = field(default_factory=set)


class Lane(StatefulBatchLogic[Fact, Decision, None]):
    """The lane of one site: takes facts, answers with decisions."""

    def __init__(self, ports: LanePorts) -> None:
        self._ports = ports
        self._site = ""
        self._shape = Shape()
        self._terms = Terms()
        self._named: tuple[tuple[str, str], ...] = ()
        self._limits: LimitSet | None = None
        self._domains: dict[str, LimitSet] = {}
        self._blocked: dict[str, float] = {}  # domain -> until when, monotonic
        self._reasons: dict[str, tuple[Cause, str]] = {}  # domain -> why it was blocked last
        self._queue = WaitingQueue()
        self._working = 0  # messages in sessions
        self._held = 0  # connections: those that work, and those that are kept for the next message
        self._bound_by: tuple[Cause, str] = (Cause.QUEUE, "")
        self._tick_at_ms = _NEVER
        self._active_at_ms = 0.0
        self._waiting_ms = 0.0
        self._planned: dict[int, int] = {}
        self._ended_ms: deque[float] = deque(maxlen=1_000)

    @override
    def on_batch(self, values: list[Fact]) -> tuple[Iterable[Decision], bool]:
        now_ms = self._ports.clock.now_ms()
        mono_ms = self._ports.clock.monotonic() * 1000
        self._waiting_ms = self._ports.waiting_ms()
        decisions: list[Decision] = []
        for fact in values:
            match fact:
                case Queued():
                    self._take(fact, now_ms, decisions)
                case Attempted():
                    self._judge(fact, now_ms, decisions)
                case Freed(connections):
                    self._give_back(connections)
                case Tick():
                    self._tick_at_ms = _NEVER
        for waiting in self._queue.take_due(now_ms):
            self._place(waiting, now_ms, decisions)
        again_at_ms = self._send(now_ms, mono_ms, decisions)
        self._park(now_ms, mono_ms, decisions)
        if decisions:
            self._active_at_ms = mono_ms
        return decisions, self._plan(again_at_ms, now_ms, mono_ms)

    @property
    def waiting(self) -> tuple[Counter[str], Counter[str]]:
        """By stream what waits for the site's limits, and what for its time. For any thread."""
        return self._queue.by_stream()

    @override
    def snapshot(self) -> None:
        """Nothing: see the top of this file."""

    def _take(self, queued: Queued, now_ms: int, decisions: list[Decision]) -> None:
        if self._limits is None:
            self._open(queued)
        self._place(Waiting(queued, now_ms), now_ms, decisions)

    def _open(self, queued: Queued) -> None:
        self._site = queued.site
        self._ports.lanes.add(self)
        self._shape = self._ports.shape(queued)
        source_ip = queued.delivery.source_ip
        named = {Scope.SITE: self._site, Scope.PROVIDER: self._shape.provider}
        self._limits = LimitSet(
            self._ports.shared, self._shape.bounds, named, self._site, source_ip
        )
        shared = any(one.scope is Scope.PROVIDER for one in self._shape.of(What.CONNECTIONS))
        self._terms = Terms(
            most_messages=self._shape.least(What.MESSAGES_PER_CONNECTION) or 0,
            most_connections=int(self._limits.opens_by_rate),
            idle_s=SHARED_IDLE_S if shared else 0,
        )
        self._named = self._shape.named()

    def _place(self, waiting: Waiting, now_ms: int, decisions: list[Decision]) -> None:
        """To the queue, to a wait in memory of ten seconds at most, or to a delay topic."""
        not_before_ms = waiting.queued.delivery.not_before_ms
        if not_before_ms <= now_ms:
            self._queue.make_ready(waiting, self._waiting_ms)
        elif not_before_ms - now_ms <= IN_MEMORY_MS:
            self._queue.hold(waiting, not_before_ms)
        elif waiting.queued.due_ms > now_ms:
            # Further ahead than this it is only where the clock was set back.
            self._queue.hold(waiting, min(waiting.queued.due_ms, now_ms + IN_MEMORY_MS))
        else:
            decisions.append(self._postpone(waiting, now_ms, not_before_ms))

    def _judge(self, fact: Attempted, now_ms: int, decisions: list[Decision]) -> None:
        self._working -= 1
        domain = fact.send.queued.delivery.rcpt_domain
        if domain in self._domains:
            self._domains[domain].give_back(1)
            self._blocked.pop(domain, None)
        self._ended_ms.append(self._waiting_ms)
        if fact.result.accepted:
            return
        classified = self._ports.classifier.classify(fact.result.reply, fact.result.mx_host)
        fate = fate_of(
            self._ports.retry,
            classified.message,
            Tried(fact.send.attempt, fact.result.started_at_ms, now_ms),
            give_up_at_ms=fact.send.queued.delivery.give_up_at_ms,
            draw=self._ports.draw(),
            clock_trusted=self._ports.clock_trusted(),
        )
        match fate:
            case Bounce():
                decisions.append(Verdict(Kind.BOUNCED, fact, classified))
            case Expire():
                decisions.append(Verdict(Kind.EXPIRED, fact, classified))
            case Retry(not_before_ms):
                decisions.append(Verdict(Kind.DEFERRED, fact, classified, not_before_ms))

    def _give_back(self, connections: int) -> None:
        """Those that the next messages do not count on yet."""
        free = min(connections, self._held - self._working)
        self._held -= free
        if self._limits is not None:
            self._limits.give_back(free)

    def _send(self, now_ms: int, mono_ms: float, decisions: list[Decision]) -> float | None:
        if self._limits is None:
            return None  # it has seen no message yet
        self._blocked = {
            domain: until_ms
            for domain, until_ms in self._blocked.items()
            if until_ms > mono_ms and not self._domains[domain].has_room(mono_ms)
        }
        wanted = self._queue.ready - self._queue.apart(self._blocked)
        free = self._held - self._working
        grant = self._limits.grant(wanted, free, mono_ms)
        sent = 0
        while sent < grant.messages and (waiting := self._next(mono_ms)) is not None:
            opened = int(sent >= free)
            decisions.append(self._sent(waiting, now_ms, opened))
            sent += 1
        self._limits.unused(grant, sent, max(0, sent - free))
        self._bound_by = _reason(self._limits, grant.bound_by or _ALL_WENT)
        if self._held > self._working and self._limits.contended:
            decisions.append(LetGo(self._site))
        again = [until for one, until in self._blocked.items() if self._queue.apart((one,))]
        if sent == grant.messages and grant.again_at_ms is not None:
            again.append(grant.again_at_ms)
        return min(again, default=None)

    def _next(self, mono_ms: float) -> Waiting | None:
        """The next message that its domain lets go."""
        while (waiting := self._queue.next(self._blocked)) is not None:
            domain = waiting.domain
            limits = self._domains.get(domain)
            if limits is None:
                bounds = self._ports.domain_bounds(domain)
                if not bounds:
                    return waiting
                limits = self._domains[domain] = LimitSet(
                    self._ports.shared,
                    bounds,
                    {Scope.DOMAIN: domain},
                    self._site,
                    waiting.queued.delivery.source_ip,
                )
            grant = limits.grant(1, 0, mono_ms)
            if grant.messages:
                return waiting
            if grant.bound_by:
                self._reasons[domain] = _reason(limits, grant.bound_by)
            self._blocked[domain] = _NEVER if grant.again_at_ms is None else grant.again_at_ms
            self._queue.set_apart(waiting)
        return None

    def _sent(self, waiting: Waiting, now_ms: int, opened: int) -> Send:
        self._queue.leave(waiting)
        self._working += 1
        self._held += opened
        waits = self._waits(waiting, now_ms)
        queued = waiting.queued
        attempt = queued.delivery.attempt + 1
        return Send(queued, attempt, waits, now_ms, self._named, opened, self._terms)

    def _park(self, now_ms: int, mono_ms: float, decisions: list[Decision]) -> None:
        """Moves to a delay topic what has waited for the lane's limits for too long."""
        parked_from_ms = self._waiting_ms - MAX_WAITING_MS
        oldest_ms = self._queue.oldest_ready_ms
        if oldest_ms is None or oldest_ms > parked_from_ms or self._ports.stalled():
            return
        pace = per_minute(self._ended_ms, busy_since_ms=oldest_ms, now_ms=self._waiting_ms)
        room = slot_room(pace, self._shape.least(What.CONNECTIONS) or _UNLIMITED)
        self._planned = {m: n for m, n in self._planned.items() if m * 60_000 >= now_ms}
        while oldest_ms is not None and oldest_ms <= parked_from_ms:
            minute = next_slot(self._planned, per_minute=room, now_ms=now_ms)
            self._planned[minute] = self._planned.get(minute, 0) + 1
            not_before_ms = slot_start_ms(minute, self._ports.draw())
            decisions.append(self._postpone(self._queue.pop_oldest(), now_ms, not_before_ms))
            oldest_ms = self._queue.oldest_ready_ms
        if self._limits is not None and not self._queue.ready:
            self._limits.wants_no_more(mono_ms)
            for domain in self._domains.values():
                domain.wants_no_more(mono_ms)

    def _postpone(self, waiting: Waiting, now_ms: int, not_before_ms: int) -> Postpone:
        return Postpone(waiting.queued, self._waits(waiting, now_ms), now_ms, not_before_ms)

    def _waits(self, waiting: Waiting, now_ms: int) -> tuple[Wait, ...]:
        """Accounts for the time since the last outcome: planned wait, way here, the lane."""
        delivery = waiting.queued.delivery
        since_ms = min(delivery.since_ms, now_ms)  # later only where the clock was set back
        due_ms = max(since_ms, min(delivery.not_before_ms, now_ms))
        ready_ms = max(due_ms, min(waiting.ready_ms, now_ms))
        asked_ms = min(max(due_ms, waiting.queued.asked_ms or ready_ms), ready_ms)
        cause, rule = self._bound_by
        if waiting.apart or waiting.domain in self._blocked:
            cause, rule = self._reasons.get(waiting.domain, self._bound_by)
        return (
            *delivery.waits,
            Wait(Cause.RETRY, "retry.delays", due_ms - since_ms),
            Wait(Cause.QUEUE, "", asked_ms - due_ms),
            Wait(Cause.DNS, _RULE_OF_DNS, ready_ms - asked_ms),
            Wait(cause, rule, now_ms - ready_ms),
        )

    def _plan(self, again_at_ms: float | None, now_ms: int, mono_ms: float) -> bool:
        """Asks for the next tick; True where the lane has nothing left to remember."""
        if self._queue.empty and not self._working and not self._held:
            if mono_ms - self._active_at_ms >= _IDLE_MS:
                self._ports.lanes.discard(self)
                self._ports.forget(self._site)
                return self.DISCARD
            wake_ms = self._active_at_ms + _IDLE_MS
        else:
            wake_ms = again_at_ms if again_at_ms is not None else _NEVER
            due_ms = self._queue.next_due_ms
            for left_ms in (
                None if due_ms is None else due_ms - now_ms,
                self._longest_wait_left_ms(),
            ):
                if left_ms is not None:
                    wake_ms = min(wake_ms, mono_ms + max(1, left_ms))
        if wake_ms < self._tick_at_ms:
            self._tick_at_ms = wake_ms
            self._ports.wake(wake_ms, self._site)
        return self.RETAIN

    def _longest_wait_left_ms(self) -> float | None:
        oldest_ms = self._queue.oldest_ready_ms
        if oldest_ms is None:
            return None
        # While all is stalled nobody is parked: look again in a second.
        return max(oldest_ms + MAX_WAITING_MS - self._waiting_ms, 1_000)


def _reason(limits: LimitSet, bound: Bound) -> tuple[Cause, str]:
    """Why messages wait that a limit did not let go."""
    return _CAUSE[bound.what], f"{limits.name(bound)}.{bound.what}"


def waiting_in(lanes: set[Lane]) -> tuple[Counter[str], Counter[str]]:
    """By stream what waits in all of these lanes for limits, and for its time. For any thread."""
    limited: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for lane in lanes.copy():  # in one step, as lists are
        here = lane.waiting
        limited.update(here[0])
        later.update(here[1])
    return limited, later
