"""Further processes of a flow beside a platform, each with a data directory of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.kafka import free_ports
from tests.support.platform import ROOT
from tests.support.sink import Sink
from tests.support.waiting import wait_until


class Dispatcher:
    """`python -m bytewax.run flows.dispatch` as a machine of its own would run it."""

    flow = "dispatch"

    def __init__(self, data_dir: Path, environment: Mapping[str, str], *options: str) -> None:
        """Takes options of `bytewax.run`."""
        self._options = options
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self.output = data_dir.parent / f"{data_dir.name}.log"
        self._ready = data_dir / "run" / f"{self.flow}.ready"
        self.name = f"{data_dir.name}.test"  # in EHLO
        own = {"SEALWAX_DATA_DIR": str(data_dir), "SEALWAX_EHLO_NAME": self.name}
        self.environment = {**environment, **own}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it without waiting."""
        self._ready.unlink(missing_ok=True)  # of a life that was killed
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", f"flows.{self.flow}", *self._options],
                env=self.environment, stdout=output, stderr=output, cwd=ROOT,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of its present life."""
        assert self._process
        return self._process.pid

    def has_ended(self) -> bool:
        assert self._process
        return self._process.poll() is not None

    def is_ready(self) -> bool:
        return self._ready.exists()

    def wait_until_ready(self) -> None:
        wait_until(self.is_ready, 120, f"the dispatcher to be ready; see {self.output}")

    def wait_until_it_sends(self, sink: Sink) -> None:
        """Waits for a mail of its from now on."""
        since = time.time()
        wait_until(lambda: sink.senders(since)[self.name], 120, f"{self.name} to send", 0.1)

    def sends_within(self, sink: Sink, seconds: float) -> bool:
        """Whether a mail of its comes from now on."""
        since = time.time()
        with suppress(AssertionError):
            wait_until(lambda: sink.senders(since)[self.name], seconds, "")
            return True
        return False

    def said(self, text: str) -> int:
        """How often it said so."""
        return self.output.read_text(errors="replace").count(text)

    def send(self, number: signal.Signals) -> None:
        assert self._process
        os.kill(self._process.pid, number)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self.send(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Waits for its end; its exit status."""
        assert self._process
        return self._process.wait(120)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Analyst(Dispatcher):
    """The same of `flows.analytics`; ready only where it has the work."""

    flow = "analytics"


@contextmanager
def dispatchers(
    folder: Path, environment: Mapping[str, str], count: int
) -> Iterator[list[Dispatcher]]:
    """So many, started and ready; killed at the end."""
    made = [Dispatcher(folder / f"dispatch-{n}", environment) for n in range(count)]
    with _running(made):
        yield made


@contextmanager
def cluster(
    folder: Path, environment: Mapping[str, str], count: int, *options: str
) -> Iterator[list[Dispatcher]]:
    """As many, as one Bytewax cluster.

    They end, but do not start anew, by themselves: see `revive`.
    """
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(count))
    made = [
        Dispatcher(folder / f"process-{n}", environment, "-i", f"{n}", "-a", addresses, *options)
        for n in range(count)
    ]
    with _running(made):
        yield made


def revive(processes: Iterable[Dispatcher]) -> bool:
    """Starts those that have ended, as a supervisor does; whether all are ready."""
    for one in processes:
        if one.has_ended():
            one.start()
    return all(one.is_ready() for one in processes)


@contextmanager
def _running(made: Sequence[Dispatcher]) -> Iterator[None]:
    try:
        for one in made:
            one.start()
        for one in made:
            one.wait_until_ready()
        yield
    finally:
        for one in made:
            one.kill()
