"""A data directory and `sealwax up` on it, stopped when the test ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwax.store.processes import NAMES, ProcessFiles, lives
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Started:
    """A supervisor that was started."""

    def __init__(self, process: "subprocess.Popen[str]", data_dir: Path, output: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.files = ProcessFiles(data_dir)
        self._output = output

    @property
    def said(self) -> str:
        return self._output.read_text()

    def pid(self, name: str) -> int:
        pid = self.files.pid(name)
        assert pid is not None
        return pid

    def pids(self) -> dict[str, int]:
        return {name: self.pid(name) for name in NAMES}

    def runs_again(self, name: str, old: int) -> bool:
        return self.pid(name) != old and self.files.ready(name)

    def log(self, name: str) -> list[str]:
        path = self.data_dir / f"{name}.log"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def wait_ready(self) -> None:
        wait_until(lambda: "sealwax is ready" in self.said, 20, "the supervisor to be ready")

    def ends(self, timeout_s: float = 10) -> int:
        return self.process.wait(timeout_s)


class Machine:
    """Runs commands on one data directory."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.port = free_port()
        self._folder = folder
        self._started: list[Started] = []

    def environment(self, **extra: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")}
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "SEALWAX_DATA_DIR": str(self.data_dir),
            "SEALWAX_HTTP": f"127.0.0.1:{self.port}",
            "SEALWAX_DRAIN": "2s",
            **extra,
        }

    def start(self, **extra: str) -> Started:
        output = self._folder / f"up.{len(self._started)}.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, str(STAND_IN)],
                env=self.environment(**extra),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started = Started(process, self.data_dir, output)
        self._started.append(started)
        return started

    def run(self, *arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sealwax", *arguments],
            env=self.environment(**extra),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def close(self) -> None:
        for started in self._started:
            pids = [p for name in NAMES if (p := started.files.pid(name)) and lives(p)]
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()
            for pid in pids:
                if lives(pid):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()
