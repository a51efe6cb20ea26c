"""Which processes work on a data directory: their pids, and whether they are ready."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

NAMES = ("api", "render", "dispatch", "analytics")


class ProcessFiles:
    """The files `run/<name>.pid` and `run/<name>.ready`; each holds a pid as text.

    The supervisor writes the pid file when it has started a process; the process writes the ready
    file when it works. A process that runs without a supervisor has no pid file. `run/<name>.name`
    is there for one that has had another name. Every file appears whole or not at all.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._run = data_dir / "run"

    def instance(self, name: str) -> str:
        """What the process called `name` of this data directory is called over all its lives.

        A copy of the directory, on this machine or on another one, is called otherwise.
        """
        path = self._data_dir / "instance"
        if not path.exists():
            part = self._data_dir / f".instance.{os.getpid()}"
            part.write_text(uuid4().hex)
            with suppress(FileExistsError):  # another process was quicker
                os.link(part, path)
            part.unlink()
        place = f"{path.read_text().strip()} {socket.gethostname()} {self._data_dir.resolve()}"
        with suppress(FileNotFoundError):
            place += self._name(name).read_text()
        return f"{blake2b(place.encode(), digest_size=16).hexdigest()}-{name}"

    def rename(self, name: str) -> Callable[[], None]:
        """From now on `instance` calls the process otherwise, unless the result takes that back."""
        path = self._name(name)
        before = path.read_text() if path.exists() else ""
        self._write(path.name, uuid4().hex)
        return lambda: self._write(path.name, before)

    def _name(self, name: str) -> Path:
        return self._run / f"{name}.name"

    def write_pid(self, name: str, pid: int) -> None:
        """Records that `name` runs as `pid`."""
        self._write(f"{name}.pid", pid)

    def mark_ready(self, name: str) -> None:
        """Records that `name` works, and that it is this process."""
        self._write(f"{name}.ready", os.getpid())

    def mark_stopped(self, name: str) -> None:
        """Takes mark_ready back, where it was this process that said it. Idempotent.

        The pid file is the supervisor's: it stays until the next process has replaced it.
        """
        self._remove(f"{name}.ready", os.getpid())

    def clear(self, name: str, pid: int) -> None:
        """Removes what says that `name` runs as `pid`. Idempotent.

        Files that say another pid stay: they are of a later process of the same name.
        """
        self._remove(f"{name}.ready", pid)
        self._remove(f"{name}.pid", pid)

    def pid(self, name: str) -> int | None:
        """The pid that was recorded for `name`, whether it lives or not."""
        return self._read(f"{name}.pid")

    def ready(self, name: str) -> bool:
        """Whether the process called `name` lives and has said that it works."""
        ready, pid = self._read(f"{name}.ready"), self._read(f"{name}.pid")
        return ready is not None and pid in (ready, None) and lives(ready)

    def _write(self, name: str, text: object) -> None:
        self._run.mkdir(parents=True, exist_ok=True)
        part = self._run / f".{name}.{os.getpid()}"
        part.write_text(str(text))
        part.replace(self._run / name)

    def _remove(self, name: str, pid: int) -> None:
        if self._read(name) == pid:
            with suppress(FileNotFoundError):
                (self._run / name).unlink()

    def _read(self, name: str) -> int | None:
        try:
            text = (self._run / name).read_text()
        except FileNotFoundError:
            return None
        return int(text) if text.isascii() and text.isdecimal() else None


def lives(pid: int) -> bool:
    """Whether a process of this pid runs; one that ended and waits for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # The state is the first field after the name, which is in parentheses and may hold any text.
    return stat[stat.rfind(")") + 2 :][:1] not in ("Z", "X")
