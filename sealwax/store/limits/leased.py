"""What a process holds of limits that are counted elsewhere: asked by lanes, filled by a thread.

A lane asks in its own thread and never waits. Another thread carries the questions of all limits to
the counter and brings the answers.
"""

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from operator import itemgetter
from typing import Protocol

from typing_extensions import override

from sealwax import clock
from sealwax.policy.sharing import (
    LATE_MS,
    PERMITS_MS,
    RENEWED_AFTER_MS,
    UNUSED_MS,
    Standing,
    permits_alone,
    rate_alone,
)
from sealwax.policy.throttle import Rate, admit, admitted_at_once
from sealwax.store.limits.port import Permits, RateLimit, Taken
from sealwax.store.limits.waiters import Waiters

# Of permits: name, limit, held, wanted. Of a rate: name, period, burst, tokens wanted, held.
Question = tuple[str, int, int, int] | tuple[str, float, int, int, int]

# Who may go, and when.
Turn = list[tuple[str, float]]

_NEVER = float("inf")
# Questions of one limit, at least so far apart.
_REFUSED_AGAIN_MS = 250.0
_SOME_AGAIN_MS = 1_000.0
_MORE_AGAIN_MS = 75.0
# What is due so soon goes with what is due now.
_NEARLY_MS = 60.0
# Who has not asked for so long wants nothing any more; a lane that waits looks again each second.
_FORGOTTEN_MS = 2_500.0
_LOOK_AGAIN_MS = 1_000.0
_MOST_TOKENS = 1_000
_SOON_MS = 1.0


class Counter(Protocol):
    """Whoever carries questions to where the limits are counted."""

    @property
    def standing(self) -> Standing:
        """What is known of the other processes."""
        ...

    def ask(self, limit: "Leased", at_ms: float) -> None:
        """Plans a question of this limit; never blocks for long."""
        ...

    def let_go(self, turn: "Turn") -> None:
        """Tells those whose turn it is."""
        ...


class Leased(ABC):
    """One limit of which this process holds a part. Thread-safe.

    Attributes:
        name: The limit's.
    """

    def __init__(self, name: str, counter: Counter) -> None:
        self.name = name
        self._counter = counter
        self._lock = threading.Lock()
        self._again_ms = -_NEVER

    @abstractmethod
    def due_ms(self) -> float:
        """When this limit has something to ask or to say; infinity where it has not."""

    @abstractmethod
    def question(self, now_ms: float) -> Question | None:
        """What to say to the counter; None where there is nothing."""

    @abstractmethod
    def answer(self, answer: list[float], sent_ms: float, received_ms: float) -> None:
        """Takes in what the counter said to the last question."""

    @abstractmethod
    def forgotten(self) -> None:
        """The counter has lost its memory: what is held is to be told again."""

    @abstractmethod
    def turn(self, now_ms: float) -> Turn:
        """Who of those that were refused may go, and when; empty where that is not known."""

    @abstractmethod
    def farewell(self) -> Question | None:
        """What to say at the end; None where nothing is held."""


class LeasedPermits(Leased, Permits):
    """Permits that were granted to this process for fifteen seconds, and again each five.

    What was in use in the last second is kept: a session may stay open for so long.
    """

    def __init__(self, name: str, most: int, counter: Counter) -> None:
        super().__init__(name, counter)
        self._most = most
        self._held = 0
        self._usable = 0
        self._till_ms = -_NEVER
        self._renewed_at_ms = -_NEVER
        self._in_use = 0
        self._waiters = Waiters(PERMITS_MS)
        self._asked_for = 0
        self._peak = 0
        self._peak_before = 0
        self._peak_since_ms = -_NEVER

    @override
    def peek(self, now_ms: float, who: str = "") -> int:
        with self._lock:
            return self._waiters.left(who, self._allowed(now_ms) - self._in_use, now_ms)

    @override
    def room(self, wanted: int, now_ms: float, who: str = "") -> int:
        away = self._counter.standing.away_since_ms is not None
        with self._lock:
            free = max(0, self._allowed(now_ms) - self._in_use)
            granted = self._waiters.ask(who, wanted, free, now_ms)
            asks = away or (wanted > free and self._usable < self._most)
            # Those who have some and want more can wait for the next call.
            at_ms = max(now_ms + _NEARLY_MS if self._usable else now_ms, self._again_ms)
            passed_on = not wanted and self._waiters.missing > 0
        if asks:
            self._counter.ask(self, at_ms)
        if passed_on:
            self._counter.let_go(self.turn(now_ms))
        return granted

    @override
    def take(self, count: int, who: str = "") -> int:
        with self._lock:
            self._in_use += count
            self._waiters.took(who, count)
            self._peak = max(self._peak, self._in_use)
            return count

    @override
    def give_back(self, count: int) -> None:
        with self._lock:
            self._in_use -= count
            waited_for = self._waiters.missing
        if waited_for:
            self._counter.let_go(self.turn(clock.monotonic() * 1000))

    @override
    def contended(self, who: str) -> bool:
        return self._waiters.besides(who)

    @override
    def due_ms(self) -> float:
        away = self._counter.standing.away_since_ms is not None
        with self._lock:
            used = max(self._peak, self._peak_before)
            if used > self._held or (away and self._waiters.wanted):
                return -_NEVER
            due_ms = self._again_ms if self._short else _NEVER
            if self._held:
                due_ms = min(due_ms, self._renewed_at_ms + RENEWED_AFTER_MS)
            # What is not used goes back with the next call, which is made each second.
            return due_ms

    @override
    def question(self, now_ms: float) -> Question | None:
        away = self._counter.standing.away_since_ms is not None
        with self._lock:
            if now_ms - self._peak_since_ms >= UNUSED_MS:
                self._peak_before, self._peak = self._peak, self._in_use
                self._peak_since_ms = now_ms
            used = max(self._peak, self._peak_before)
            wanted = self._waiters.wanted
            held = max(used, min(self._usable, self._in_use + wanted))
            if away:
                held = max(used, self._allowed(now_ms))
            elif now_ms >= self._till_ms:
                held = used  # what is in use is a fact, the rest others may have by now
            else:
                held = max(used, min(self._held, held))
            asks = self._short and self._again_ms <= now_ms + _NEARLY_MS
            asks = asks or (away and bool(held or wanted))
            renews = self._held and now_ms - self._renewed_at_ms >= RENEWED_AFTER_MS
            if not (asks or renews or held != self._held):
                return None
            if not away:
                self._held, self._usable = held, min(self._usable, held)
            self._asked_for = min(self._most, max(used, self._in_use + wanted))
            return self.name, self._most, held, self._asked_for

    @override
    def answer(self, answer: list[float], sent_ms: float, received_ms: float) -> None:
        granted, usable = (int(number) for number in answer)
        with self._lock:
            self._held, self._usable = granted, usable
            self._till_ms = sent_ms + PERMITS_MS
            self._renewed_at_ms = sent_ms
            again_ms = _MORE_AGAIN_MS
            if usable < self._asked_for:
                again_ms = _SOME_AGAIN_MS if usable else _REFUSED_AGAIN_MS
            self._again_ms = received_ms + again_ms

    @override
    def forgotten(self) -> None:
        with self._lock:
            self._renewed_at_ms = -_NEVER

    @override
    def turn(self, now_ms: float) -> Turn:
        with self._lock:
            free = self._allowed(now_ms) - self._in_use
            return [(who, now_ms) for who in self._waiters.first(free)]

    @override
    def farewell(self) -> Question | None:
        with self._lock:
            return (self.name, self._most, 0, 0) if self._held else None

    @property
    def _short(self) -> bool:
        """Whether those that wait could use more than there is."""
        wanted = self._waiters.wanted
        return wanted > 0 and min(self._most, self._in_use + wanted) > self._usable

    def _allowed(self, now_ms: float) -> int:
        standing = self._counter.standing
        if standing.away_since_ms is None:
            return self._usable if now_ms < self._till_ms else 0
        return permits_alone(self._most, self.name, self._usable, standing, now_ms)


class LeasedRate(Leased, RateLimit):
    """Tokens that were granted to this process: each from a time on, and void a second later."""

    def __init__(self, name: str, rate: Rate, counter: Counter) -> None:
        super().__init__(name, counter)
        self._rate = rate
        self._tokens: deque[tuple[float, float]] = deque()  # usable from, void after
        # Of the last take of each thread: what was granted, and how many more it took alone.
        self._last: dict[int, tuple[list[tuple[float, float]], int]] = {}
        self._used = 0
        self._waiters = Waiters(_FORGOTTEN_MS)
        self._due_ms = _NEVER
        self._asked_for = 0
        self._alone = rate
        self._alone_since_ms: float | None = None
        self._horizon_ms = 0.0

    @override
    def peek(self, now_ms: float, who: str = "") -> int:
        standing = self._counter.standing
        with self._lock:
            self._drop_void(now_ms)
            usable = self._usable_at(now_ms)
            if standing.away_since_ms is not None:
                usable += self._alone_at(now_ms, standing)[0]
            return self._waiters.left(who, usable, now_ms)

    @override
    def take(self, wanted: int, now_ms: float, who: str = "") -> Taken:
        standing = self._counter.standing
        away = standing.away_since_ms is not None
        with self._lock:
            self._drop_void(now_ms)
            tokens = self._tokens
            usable = self._usable_at(now_ms)
            alone, alone_ms = self._alone_at(now_ms, standing) if away else (0, _NEVER)
            count = self._waiters.ask(who, wanted, usable + alone, now_ms)
            self._waiters.took(who, count)
            self._take_out(count, usable, now_ms)
            place = self._waiters.place(who)
            again_at_ms = tokens[place][0] if place < len(tokens) else now_ms + _LOOK_AGAIN_MS
            if away:
                _, alone_ms = self._alone_at(now_ms, standing)
                again_at_ms = min(again_at_ms, alone_ms) if tokens else alone_ms
            self._used += count
            at_ms = self._plan(now_ms)
        if at_ms < _NEVER:
            self._counter.ask(self, at_ms)
        return Taken(count, max(again_at_ms, now_ms + _SOON_MS) if count < wanted else None)

    @override
    def give_back(self, count: int) -> None:
        with self._lock:
            self._used -= count
            tokens, taken_alone = self._last.pop(threading.get_ident())
            alone = min(count, taken_alone)
            self._horizon_ms -= alone * self._alone.period_ms
            self._tokens.extendleft(reversed(tokens[len(tokens) - (count - alone) :]))

    @override
    def due_ms(self) -> float:
        with self._lock:
            return self._due_ms

    @override
    def question(self, now_ms: float) -> Question | None:
        with self._lock:
            self._drop_void(now_ms)
            self._waiters.forget(now_ms)
            # For three times as long as what was used since the last question.
            wanted = min(_MOST_TOKENS, self._waiters.missing + 3 * self._used) - len(self._tokens)
            self._plan(now_ms)
            if wanted <= 0 or self._due_ms > now_ms + _NEARLY_MS:
                return None
            self._used = 0
            self._due_ms = _NEVER
            self._asked_for = wanted
            return self.name, self._rate.period_ms, self._rate.burst, wanted, len(self._tokens)

    @override
    def answer(self, answer: list[float], sent_ms: float, received_ms: float) -> None:
        granted, first_ms, more_in_ms = answer
        with self._lock:
            for number in range(int(granted)):
                # When the counter granted is not known exactly: usable late, void early.
                in_ms = max(0.0, first_ms + number * self._rate.period_ms)
                void_ms = sent_ms + in_ms + LATE_MS
                self._tokens.append((received_ms + in_ms, void_ms))
            again_ms = _MORE_AGAIN_MS
            if granted < self._asked_for:
                again_ms = max(again_ms, min(more_in_ms, _LOOK_AGAIN_MS))
            self._again_ms = received_ms + again_ms
            self._plan(received_ms)

    @override
    def turn(self, now_ms: float) -> Turn:
        away = self._counter.standing.away_since_ms is not None
        with self._lock:
            self._drop_void(now_ms)
            if not self._tokens and away:
                return [(who, now_ms) for who in self._waiters.first(1)]
            first = self._waiters.first(len(self._tokens))
            return [(who, self._tokens[place][0]) for place, who in enumerate(first)]

    @override
    def forgotten(self) -> None:
        """Tokens are void before the counter says anything again."""

    @override
    def farewell(self) -> Question | None:
        """Tokens are void by themselves."""

    def _plan(self, now_ms: float) -> float:
        """When to ask: at once where somebody waits, soon where there is little left."""
        left = len(self._tokens)
        missing = self._waiters.missing
        if missing > left:
            self._due_ms = min(self._due_ms, max(now_ms, self._again_ms))
        elif left < self._used + missing:
            self._due_ms = min(self._due_ms, max(now_ms + _NEARLY_MS, self._again_ms))
        else:
            self._due_ms = _NEVER
        return self._due_ms

    def _drop_void(self, now_ms: float) -> None:
        while self._tokens and self._tokens[0][1] < now_ms:
            self._tokens.popleft()

    def _usable_at(self, now_ms: float) -> int:
        """Tokens whose time has come; they stand in the order of their times."""
        return bisect_right(self._tokens, now_ms, key=itemgetter(0))

    def _alone_at(self, now_ms: float, standing: Standing) -> tuple[int, float]:
        """What this process's own part of the rate lets go now, and when there is more."""
        if self._alone_since_ms != standing.away_since_ms:
            self._alone_since_ms = standing.away_since_ms
            self._alone, self._horizon_ms = rate_alone(self._rate, self.name, standing)
        slot = admit(self._alone, horizon_ms=self._horizon_ms, now_ms=now_ms)
        free = admitted_at_once(self._alone, horizon_ms=self._horizon_ms, now_ms=now_ms)
        return free, slot.ready_at_ms

    def _take_out(self, count: int, usable: int, now_ms: float) -> None:
        """Takes tokens that were granted first, and what is missing of this process's own part."""
        tokens = [self._tokens.popleft() for _ in range(min(count, usable))]
        self._last[threading.get_ident()] = tokens, count - len(tokens)
        for _ in range(count - len(tokens)):
            slot = admit(self._alone, horizon_ms=self._horizon_ms, now_ms=now_ms)
            self._horizon_ms = slot.horizon_ms
