"""The four processes of the platform, as the supervisor starts them."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "api": ("-m", "sealwax.api"),
    "render": ("-m", "bytewax.run", "flows.render"),
    "dispatch": ("-m", "bytewax.run", "flows.dispatch"),
    "analytics": ("-m", "bytewax.run", "flows.analytics"),
}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(
    None, use_errno=True
)  # loaded here: nothing may be loaded between fork and exec


class LifeLock:
    """A file lock that lasts as long as a process, and that it cannot forget to give back.

    The child inherits the locked descriptor. So the next supervisor sees that a child of the last
    one still lives, and no reused pid deceives it.
    """

    def __init__(self, data_dir: Path, name: str) -> None:
        self._path = data_dir / "run" / f"{name}.lock"

    def take(self) -> int:
        """The locked descriptor; raises BlockingIOError while a process of this name lives."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def is_held(self) -> bool:
        """Whether a process of this name lives."""
        try:
            os.close(self.take())
        except BlockingIOError:
            return True
        return False


def spawn(
    arguments: Sequence[str], lock: LifeLock, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Starts Python with these arguments. Call it from the main thread, whose end ends the child.

    The child gets SIGTERM when this process dies, however it dies. It is in a session of its own,
    so that Ctrl-C on a terminal reaches the supervisor alone.

    Raises:
        BlockingIOError: A process that the lock stands for still lives.
    """
    descriptor = lock.take()
    with closing(os.fdopen(descriptor)):
        return subprocess.Popen(  # noqa: S603 - our own modules
            (sys.executable, *arguments),
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(descriptor,),
            start_new_session=True,
            # The supervisor has one thread, so nothing between fork and exec can wait for a lock.
            preexec_fn=_dies_with(os.getpid()),  # noqa: PLW1509 - as said above
        )


def _dies_with(parent: int) -> Callable[[], None]:
    def ask() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the request

    return ask
