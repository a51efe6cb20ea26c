"""The project's mail sink in a child process, for tests."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sink:
    """A sink that runs.

    Attributes:
        host, port: Where it listens.
        directory: Where its messages are.
        pid: Its process.
    """

    host: str
    port: int
    directory: Path
    pid: int

    @property
    def address(self) -> str:
        """host:port, as a route names it."""
        return f"{self.host}:{self.port}"

    def index(self) -> list[dict[str, Any]]:
        """One dict a message kept: id, file, mail_from, rcpts, ts, size, tls, peer, ehlo."""
        file = self.directory / "index.jsonl"
        if not file.exists():
            return []
        return [
            json.loads(line)
            for line in file.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def count(self) -> int:
        """How many messages are kept."""
        file = self.directory / "index.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

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
