"""Who may work on which partition of a flow, on one machine: file locks (R3)."""

import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path

from typing_extensions import override

from connectors.log.port import Ownership
from sealwax.errors import OwnedElsewhereError

_MAX_PID_DIGITS = 20


class FileOwnership(Ownership):
    """A flow's partitions, each held by the lock of a file that says its holder's pid.

    The kernel gives the locks back when the process ends, however it ends. Children do not inherit
    them, unless they are forked without an exec. Used by one thread at a time.
    """

    def __init__(self, locks_dir: Path, flow: str) -> None:
        self._locks_dir = locks_dir
        self._flow = flow
        self._held: dict[int, int] = {}  # partition number -> descriptor

    @override
    def acquire(self, wanted: Sequence[int]) -> Sequence[int]:
        self._locks_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            taken = {}
            for number in sorted(set(wanted) - self._held.keys()):
                taken[number] = self._lock(number)
                undo.callback(os.close, taken[number])
            undo.pop_all()
        self._held.update(taken)
        return sorted(set(wanted))

    @override
    def valid_until(self) -> float:
        return inf

    @override
    def close(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def _lock(self, number: int) -> int:
        path = self._locks_dir / f"{self._flow}.{number}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, _MAX_PID_DIGITS, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            what = f"partition {number} of {self._flow} ({path})"
            raise OwnedElsewhereError(what, int(pid) if pid.isdigit() else None) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor
