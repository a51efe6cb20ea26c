"""Limits that one process keeps for itself."""

import threading
from weakref import WeakValueDictionary

from typing_extensions import override

from sealwax.policy.throttle import Rate, admit
from sealwax.store.limits.port import Limits, Permits, RateLimit, Taken


class _Permits(Permits):
    def __init__(self, most: int) -> None:
        self._most = most
        self._in_use = 0
        self._lock = threading.Lock()

    @override
    def room(self, wanted: int, now_ms: float) -> int:
        return max(0, min(wanted, self._most - self._in_use))

    @override
    def take(self, count: int) -> None:
        with self._lock:
            self._in_use += count

    @override
    def give_back(self, count: int) -> None:
        with self._lock:
            self._in_use -= count


class _Rate(RateLimit):
    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._horizon_ms = float("-inf")
        self._lock = threading.Lock()

    @override
    def take(self, wanted: int, now_ms: float) -> Taken:
        with self._lock:
            for count in range(wanted):
                slot = admit(self._rate, horizon_ms=self._horizon_ms, now_ms=now_ms)
                if slot.ready_at_ms > now_ms:
                    return Taken(count, slot.ready_at_ms)
                self._horizon_ms = slot.horizon_ms
        return Taken(wanted, None)


class InProcessLimits(Limits):
    """Limits of one process, shared by its threads.

    A limit is forgotten with its last holder, and starts anew with the next one.
    """

    def __init__(self) -> None:
        self._permits: WeakValueDictionary[str, _Permits] = WeakValueDictionary()
        self._rates: WeakValueDictionary[str, _Rate] = WeakValueDictionary()
        self._lock = threading.Lock()

    @override
    def permits(self, name: str, most: int) -> Permits:
        with self._lock:
            found = self._permits.get(name)
            if found is None:
                found = self._permits[name] = _Permits(most)
            return found

    @override
    def rate(self, name: str, rate: Rate) -> RateLimit:
        with self._lock:
            found = self._rates.get(name)
            if found is None:
                found = self._rates[name] = _Rate(rate)
            return found

    @override
    def close(self) -> None:
        """Nothing is held outside of this process."""
