"""Limits that one process keeps for itself."""

import threading
from collections.abc import Sequence
from weakref import WeakValueDictionary

from typing_extensions import override

from sealwax import clock
from sealwax.policy.throttle import Rate, admit, admitted_at_once
from sealwax.store.limits.port import Limits, OnRoom, Permits, RateLimit, Taken
from sealwax.store.limits.waiters import Waiters

# Who waits asks again within a lane's longest wait; who does not is gone.
_GONE_AFTER_MS = 30_000.0
# So often at least, since those before it may want no more.
_LOOK_AGAIN_MS = 2_000.0


class _Permits(Permits):
    def __init__(self, most: int, on_room: OnRoom) -> None:
        self.most = most
        self._on_room = on_room
        self._in_use = 0
        self._waiters = Waiters(_GONE_AFTER_MS)
        self._lock = threading.Lock()

    @override
    def peek(self, now_ms: float, who: str = "") -> int:
        with self._lock:
            return self._waiters.left(who, self.most - self._in_use, now_ms)

    @override
    def room(self, wanted: int, now_ms: float, who: str = "") -> int:
        with self._lock:
            granted = self._waiters.ask(who, wanted, self.most - self._in_use, now_ms)
            turn = () if wanted else self._turn()
        self._let_go(turn)
        return granted

    @override
    def take(self, count: int, who: str = "") -> int:
        with self._lock:
            taken = max(0, min(count, self.most - self._in_use))
            self._in_use += taken
            self._waiters.took(who, taken)
            return taken

    @override
    def give_back(self, count: int) -> None:
        with self._lock:
            self._in_use -= count
            turn = self._turn()
        self._let_go(turn)

    @override
    def contended(self, who: str) -> bool:
        return self._waiters.besides(who)

    def _turn(self) -> Sequence[str]:
        return self._waiters.first(self.most - self._in_use) if self._waiters.missing else ()

    def _let_go(self, turn: Sequence[str]) -> None:
        for who in turn:
            self._on_room(who, clock.monotonic() * 1000)


class _Rate(RateLimit):
    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._horizon_ms = float("-inf")
        self._waiters = Waiters(_GONE_AFTER_MS)
        self._lock = threading.Lock()

    @override
    def peek(self, now_ms: float, who: str = "") -> int:
        with self._lock:
            free = admitted_at_once(self.rate, horizon_ms=self._horizon_ms, now_ms=now_ms)
            return self._waiters.left(who, free, now_ms)

    @override
    def take(self, wanted: int, now_ms: float, who: str = "") -> Taken:
        with self._lock:
            free = admitted_at_once(self.rate, horizon_ms=self._horizon_ms, now_ms=now_ms)
            granted = self._waiters.ask(who, wanted, free, now_ms)
            for _ in range(granted):
                slot = admit(self.rate, horizon_ms=self._horizon_ms, now_ms=now_ms)
                self._horizon_ms = slot.horizon_ms
            self._waiters.took(who, granted)
            if granted == wanted:
                return Taken(granted, None)
            slot = admit(self.rate, horizon_ms=self._horizon_ms, now_ms=now_ms)
            turn_ms = slot.ready_at_ms + self._waiters.place(who) * self.rate.period_ms
            look_ms = max(slot.ready_at_ms, now_ms + _LOOK_AGAIN_MS)
            return Taken(granted, min(turn_ms, look_ms))

    @override
    def give_back(self, count: int) -> None:
        with self._lock:
            self._horizon_ms -= count * self.rate.period_ms


class InProcessLimits(Limits):
    """Limits of one process, shared by its threads.

    A limit is forgotten with its last holder, and starts anew with the next one.
    """

    def __init__(self, on_room: OnRoom = lambda _who, _at_ms: None) -> None:
        """Takes who is told when one that was refused may have room; of rates `take` says it."""
        self._on_room = on_room
        self._permits: WeakValueDictionary[str, _Permits] = WeakValueDictionary()
        self._rates: WeakValueDictionary[str, _Rate] = WeakValueDictionary()
        self._lock = threading.Lock()

    @override
    def permits(self, name: str, most: int) -> Permits:
        with self._lock:
            found = self._permits.get(name)
            if found is None:
                found = self._permits[name] = _Permits(most, self._on_room)
            found.most = most
            return found

    @override
    def rate(self, name: str, rate: Rate) -> RateLimit:
        with self._lock:
            found = self._rates.get(name)
            if found is None:
                found = self._rates[name] = _Rate(rate)
            found.rate = rate
            return found

    @override
    def close(self) -> None:
        """Nothing is held outside of this process."""
