"""What must hold before `sealwax up` starts anything: each that does not is one clear sentence."""

import errno
import fcntl
import os
import pwd
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from connectors.log import KafkaSettings, LogSettings, moved, open_log
from sealwax import clock
from sealwax.cli.child import LifeLock
from sealwax.cli.output import say
from sealwax.config import Address, Settings
from sealwax.errors import ConfigurationError, OwnedElsewhereError, StorageFullError
from sealwax.policy.rule_error import RuleError
from sealwax.store.processes import NAMES, ProcessFiles

_LOOK_EVERY_S = 0.1
_TRY_KAFKA_FOR = timedelta(seconds=3)


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


def check_shaping(settings: Settings) -> None:
    """Raises ConfigurationError where the operator's rules cannot be read."""
    try:
        _ = settings.shaping
    except RuleError as error:
        raise ConfigurationError(
            f"SEALWAX_SHAPING: {error}; `sealwax check` says all that is wrong"
        ) from error


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


def wait_for_kafka(settings: LogSettings | KafkaSettings) -> None:
    """Waits for Kafka, and makes missing topics; a log on this machine needs nothing.

    Raises:
        ConfigurationError: Kafka cannot be reached as it is set, or a topic is not as it has to be.
        LogAwayError: Kafka went away again.
    """
    if not isinstance(settings, KafkaSettings):
        return
    # Imported when asked for: the client library takes a tenth of a second.
    from connectors.log.kafka.reaching import reach  # noqa: PLC0415
    from connectors.log.kafka.setup import set_up  # noqa: PLC0415

    said = False
    while (missing := reach(settings, _TRY_KAFKA_FOR)) is not None:
        if missing.mend:
            raise ConfigurationError(missing.said_of(settings))
        if not said:
            said = True
            say(f"{missing.said_of(settings)}. Waiting for it.")
    with closing(open_log(replace(settings, gives_up=True))) as log:
        set_up(settings, log)


def check_port(address: Address, what: str = "the API's", setting: str = "SEALWAX_HTTP") -> None:
    """Raises ConfigurationError where a server could not listen."""
    reasons = {
        errno.EADDRINUSE: f"is in use by another program: stop that, or set {setting}",
        errno.EADDRNOTAVAIL: f"is not an address of this machine: set {setting}",
        errno.EACCES: f"may not be used by this user: set {setting} to a port above 1023",
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
        reason = reasons.get(error.errno or 0, f"cannot be used: {error}; set {setting}")
        raise ConfigurationError(f"{what} address {address} {reason}") from error


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _pid_in(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None
