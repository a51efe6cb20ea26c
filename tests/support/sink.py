"""The project's mail sink in a child process, for tests."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

_ROOT = Path(__file__).parents[2]


class Sink:
    """A sink that runs. Thread-safe.

    Attributes:
        host, port: Where it listens.
        directory: Where its messages are.
        pid: Its process.
    """

    def __init__(self, host: str, port: int, directory: Path, pid: int) -> None:
        self.host = host
        self.port = port
        self.directory = directory
        self.pid = pid
        self._index = directory / "index.jsonl"
        self._lock = threading.Lock()
        self._read_to = 0
        self._entries: list[dict[str, Any]] = []
        self._received: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """host:port, as a route names it."""
        return f"{self.host}:{self.port}"

    def index(self) -> list[dict[str, Any]]:
        """One dict a message kept: id, file, mail_from, rcpts, ts, size, tls, peer, ehlo."""
        with self._lock:
            return self._read_on().copy()

    def count(self) -> int:
        """How many messages are kept."""
        with self._lock:
            return len(self._read_on())

    def received(self) -> Counter[str]:
        """How often each mail was kept, by its id."""
        with self._lock:
            self._read_on()
            return self._received.copy()

    def senders(self, since: float = 0) -> Counter[str]:
        """How many messages have come since then, by the name in EHLO."""
        return Counter(entry["ehlo"] for entry in self.index() if entry["ts"] >= since)

    def _read_on(self) -> list[dict[str, Any]]:
        """All entries; only the lines that are new are read."""
        if self._index.exists():
            with self._index.open("rb") as file:
                file.seek(self._read_to)
                whole = file.read().rpartition(b"\n")[0]
            new = [json.loads(line) for line in whole.splitlines()]
            self._read_to += len(whole) + bool(whole)
            self._entries += new
            self._received.update(entry["id"] for entry in new)
        return self._entries

    def message(self, entry: dict[str, Any]) -> bytes:
        """The bytes of a message of the index."""
        return (self.directory / entry["file"]).read_bytes()

    def wait_for(self, count: int, timeout_s: float = 30) -> list[dict[str, Any]]:
        """The index, as soon as it has at least `count` messages."""
        return wait_until(
            lambda: index if len(index := self.index()) >= count else [],
            timeout_s,
            f"{count} messages in the sink",
        )


@contextmanager
def running_sink(directory: Path, *options: str, listen: str = "127.0.0.1:0") -> Iterator[Sink]:
    """Runs the sink with `options` of its command line until the block ends."""
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.support.mail_sink"),
        *("--listen", listen, "--dir", str(directory)),
        *options,
    ]
    with (directory / "sink.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=_ROOT)
    try:
        bound = wait_until(
            lambda: _bound(directory / "sink.log", process), 20, "the sink to listen"
        )
        assert bound is not None
        host, port = bound
        yield Sink(host, port, directory, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _bound(log: Path, process: "subprocess.Popen[bytes]") -> tuple[str, int] | None:
    text = log.read_text()
    if process.poll() is not None:
        raise AssertionError(f"the sink ended: {text}")
    _, marker, rest = text.partition("sink: listening on ")
    if not marker or "," not in rest:
        return None
    host, _, port = rest.partition(",")[0].rpartition(":")
    return host, int(port)
