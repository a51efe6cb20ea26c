"""What is remembered for a while."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from sealwax import clock

K = TypeVar("K")
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Values that are forgotten after their time, the least recently used first when it is full.

    Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, while its time lasts."""
        with self._lock:
            entry = self._values.get(key)
            if entry is None:
                return None
            until, value = entry
            if clock.monotonic() >= until:
                del self._values[key]
                return None
            self._values.move_to_end(key)
            return value

    def put(self, key: K, value: V, for_s: float) -> None:
        """Remembers a value for so many seconds from now."""
        with self._lock:
            self._values[key] = (clock.monotonic() + for_s, value)
            self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)

    def __contains__(self, key: K) -> bool:
        return self.get(key) is not None
