"""What ends the work in flight of a process that was asked to stop."""

import threading
from collections.abc import Callable

Hook = Callable[[], object]


class Endings:
    """Hooks that are called once each: when the process is asked to stop, or later at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks: list[Hook] = []
        self._left = 0
        self._begun = False

    def __bool__(self) -> bool:
        """Whether some have not come back yet."""
        return bool(self._left)

    def add(self, hook: Hook) -> None:
        """Calls it here where the others were called already: while the flow was being built."""
        with self._lock:
            self._left += 1
            self._hooks.append(hook)
            begun = self._begun
        if begun:
            self._call(hook)

    def run(self) -> None:
        """Calls all that there are."""
        with self._lock:
            self._begun = True
            hooks = tuple(self._hooks)
        for hook in hooks:
            self._call(hook)

    def _call(self, hook: Hook) -> None:
        hook()
        with self._lock:
            self._left -= 1
