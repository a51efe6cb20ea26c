"""What must hold before `sealwax up` starts anything: each that does not is one clear sentence."""

import errno
import fcntl
import os
import pwd
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from connectors.log import moved
from sealwax import clock
from sealwax.cli.child import LifeLock
from sealwax.cli.output import say
from sealwax.config import Address, Settings
from sealwax.errors import ConfigurationError, OwnedElsewhereError, StorageFullError
from sealwax.store.processes import NAMES, ProcessFiles

_LOOK_EVERY_S = 0.1


def check_directory(data_dir: Path) -> None:
    """Makes the data directory where it is missing; raises ConfigurationError."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = data_dir.stat().st_uid
        # For root everything is writable, but files of root's own would lock the owner out.
        if owner != os.geteuid() and (
            os.geteuid() == 0 or not os.access(data_dir, os.W_OK | os.X_OK)
        ):
            raise ConfigurationError(
                f"the data directory {data_dir} belongs to user {_user(owner)}, and this is user "
                f"{_user(os.geteuid())}: start as {_user(owner)}, or set SEALWAX_DATA_DIR"
            )
        (data_dir / "run").mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot use the data directory {data_dir}: {error.strerror}; set SEALWAX_DATA_DIR to "
            "a folder that can be written"
        ) from error
    if not os.access(data_dir / "run", os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"the data directory {data_dir} cannot be written by user {_user(os.geteuid())}: "
            "start as its owner, or set SEALWAX_DATA_DIR"
        )


def check_disk(data_dir: Path, least: int) -> None:
    """Raises StorageFullError where fewer than `least` bytes are free."""
    free = shutil.disk_usage(data_dir).free
    if free < least:
        raise StorageFullError(
            f"the disk of {data_dir} is full ({free >> 20} MB free, at least "
            f"{least >> 20} MB are needed): free some room, or set SEALWAX_DATA_DIR"
        )


@contextmanager
def only_supervisor(data_dir: Path) -> Iterator[None]:
    """Holds the data directory; raises OwnedElsewhereError where another `up` does."""
    path = data_dir / "run" / "up.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OwnedElsewhereError(f"the data directory {data_dir}", _pid_in(path)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def wait_for_survivors(data_dir: Path, patience: timedelta) -> None:
    """Waits for processes of a supervisor that was killed; they got SIGTERM and drain.

    Raises:
        OwnedElsewhereError: One of them has not ended in that time.
    """
    deadline = clock.monotonic() + patience.total_seconds()
    files = ProcessFiles(data_dir)
    said: list[str] = []
    while True:
        alive = [name for name in NAMES if LifeLock(data_dir, name).is_held()]
        if not alive:
            break
        if clock.monotonic() > deadline:
            what = f"{alive[0]} of the last start, which has not ended,"
            raise OwnedElsewhereError(what, files.pid(alive[0]))
        if not said:
            said = alive
            say(
                f"Processes of the last start still end their work ({', '.join(alive)}); waiting "
                f"for them, at most {patience.total_seconds():.0f} s."
            )
        time.sleep(_LOOK_EVERY_S)
    for path in (data_dir / "run").glob("*.*"):
        # What a crash of the whole machine left: none of these processes lives.
        if path.suffix in (".pid", ".ready"):
            path.unlink(missing_ok=True)


def check_flows(data_dir: Path) -> None:
    """Raises OwnedElsewhereError where a flow that was started by itself works here."""
    for path in sorted((data_dir / "locks").glob("*.*")):
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                flow = path.name.partition(".")[0]
                raise OwnedElsewhereError(f"flow {flow} ({path})", _pid_in(path)) from None


def check_log(settings: Settings) -> None:
    """Raises ConfigurationError where the log was moved to Kafka, or is being moved."""
    if settings.log == settings.embedded_log:
        moved.refuse_moved(settings.embedded_log.directory)
    else:
        moved.refuse_unfinished(settings.embedded_log.directory)


def check_port(address: Address) -> None:
    """Raises ConfigurationError where the API could not listen."""
    reasons = {
        errno.EADDRINUSE: "is in use by another program: stop that, or set SEALWAX_HTTP",
        errno.EADDRNOTAVAIL: "is not an address of this machine: set SEALWAX_HTTP",
        errno.EACCES: "may not be used by this user: set SEALWAX_HTTP to a port above 1023",
    }
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, target = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)  # two may bind where both reuse; only one may listen
    except OSError as error:
        reason = reasons.get(error.errno or 0, f"cannot be used: {error}; set SEALWAX_HTTP")
        raise ConfigurationError(f"the API's address {address} {reason}") from error


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _pid_in(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
