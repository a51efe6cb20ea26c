"""The whole platform as a user starts it: `sealwax up` on a data directory of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from sealwax.store.processes import NAMES
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SEALWAX = Path(sys.executable).with_name("sealwax")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Platform:
    """A running platform.

    Attributes:
        data_dir: Its data directory.
        environment: Of every process of it, for commands beside it.
        api: A client with the operator's key.
        output: The file of what it says.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        port = free_port()
        self.data_dir = data_dir
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")},
            "SEALWAX_DATA_DIR": str(data_dir),
            "SEALWAX_HTTP": f"127.0.0.1:{port}",
            **settings,
        }
        self.output = data_dir.parent / f"{data_dir.name}.log"
        self._up: subprocess.Popen[bytes] | None = None
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        with self.output.open("ab") as log:
            self._up = subprocess.Popen(
                [SEALWAX, "up"], env=self.environment, stdout=log, stderr=log, cwd=ROOT
            )
        wait_until(self.is_ready, 120, f"the platform to be ready; see {self.output}")
        if not self.api.headers.get("Authorization"):
            key = (self.data_dir / "operator.key").read_text().strip()
            self.api.headers["Authorization"] = f"Bearer {key}"

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        if self._up is None or self._up.poll() is not None:
            raise AssertionError(f"`sealwax up` ended: {self.output.read_text()[-2000:]}")
        try:
            return self.api.get("/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Stops it gently, for good; its exit status."""
        self.api.close()
        return self.terminate()

    def terminate(self) -> int:
        """Stops it gently; its exit status."""
        if self._up is None:
            return 0
        self._up.send_signal(signal.SIGTERM)
        return self._up.wait(120)

    def pid(self, process: str) -> int:
        """The pid of one of the four processes."""
        return int((self.data_dir / "run" / f"{process}.pid").read_text())

    def runs(self, process: str) -> bool:
        """Whether one of the four processes is there: after many deaths the next one waits."""
        try:
            os.kill(self.pid(process), 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, process: str, number: signal.Signals) -> None:
        """Sends a signal to one of the four processes."""
        os.kill(self.pid(process), number)

    def kill_supervisor(self) -> None:
        """kill -9 of `sealwax up`; its processes get SIGTERM from the kernel."""
        if self._up is not None:
            self._up.kill()
            self._up.wait()

    def kill(self) -> None:
        """kill -9 of everything, as when the machine loses its power."""
        pids = [self.pid(name) for name in NAMES]
        self.kill_supervisor()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def peak_mb(self, process: str) -> int:
        """The most memory that one of the four processes ever had, in MB."""
        status = Path(f"/proc/{self.pid(process)}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) >> 10

    def command(self, *arguments: str) -> str:
        """What a command prints; it must succeed."""
        run = subprocess.run(
            [SEALWAX, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    def send(self, emails: Sequence[Mapping[str, Any]], key: str = "") -> list[str]:
        """Sends emails by the batch API, with an idempotency key if any; the ids of all of them."""
        ids: list[str] = []
        for start in range(0, len(emails), 500):
            answer = self.api.post(
                "/v1/emails/batch",
                json=emails[start : start + 500],
                headers={"Idempotency-Key": f"{key} {start}"} if key else {},
            )
            assert answer.status_code == 202, answer.text
            ids += [item["id"] for item in answer.json()["data"]]
        return ids

    def timeline(self, email_id: str) -> list[dict[str, Any]]:
        """The steps of an email."""
        answer = self.api.get(f"/v1/emails/{email_id}/timeline")
        assert answer.status_code == 200, answer.text
        steps: list[dict[str, Any]] = answer.json()["data"]
        return steps

    def wait_for_step(self, email_id: str, kind: str, timeout_s: float = 30) -> dict[str, Any]:
        """The last step of that kind, once there is one."""

        def found() -> list[dict[str, Any]]:
            return [step for step in self.timeline(email_id) if step["kind"] == kind]

        return wait_until(found, timeout_s, f"a step {kind}; see {self.output}")[-1]

    def stats(self) -> dict[str, int]:
        """The counts of all days, summed; its clock may be a day away from ours."""
        today = datetime.now(UTC).date()
        span = {"from": str(today - timedelta(days=1)), "to": str(today + timedelta(days=1))}
        days = self.api.get("/v1/stats", params=span).json()["data"]
        return {k: sum(day[k] for day in days) for k in days[0] if k != "date"}


@contextmanager
def running_platform(
    data_dir: Path, settings: Mapping[str, str], domain: str = "acme.test"
) -> Iterator[Platform]:
    """A platform with a domain, stopped at the end."""
    platform = Platform(data_dir, settings)
    try:
        platform.start()
        platform.command("domains", "add", domain, "--trusted")
        yield platform
    finally:
        platform.stop()
