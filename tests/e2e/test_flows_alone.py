"""Each flow started by `python -m bytewax.run`: alone, with two workers, with recovery."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.platform import ROOT
from tests.support.requested import append_requests
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FLOWS = ("render", "dispatch", "analytics")
MAILS = 40


@contextmanager
def running_flow(
    name: str, environment: dict[str, str], options: Sequence[str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "bytewax.run", f"flows.{name}", *options]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stderr=output, stdout=output, cwd=ROOT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(90)
    assert status == 0, log.read_text()


def recovery(tmp_path: Path, flow: str) -> list[str]:
    folder = tmp_path / f"recovery-{flow}"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder), "1"], check=True)
    return ["-w2", "-r", str(folder), "-s", "10", "-b", "0"]


@pytest.mark.parametrize("form", ["alone", "two workers", "recovery"])
def test_the_flows_deliver_without_a_supervisor(tmp_path, form):
    options = {
        "alone": lambda _flow: [],
        "two workers": lambda _flow: ["-w2"],
        "recovery": lambda flow: recovery(tmp_path, flow),
    }[form]
    with running_sink(tmp_path / "sink") as sink:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")},
            "SEALWAX_DATA_DIR": str(tmp_path / "data"),
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
        }
        ids = append_requests(tmp_path / "data", MAILS)
        log = tmp_path / "flows.log"
        with (
            running_flow("render", environment, options("render"), log),
            running_flow("dispatch", environment, options("dispatch"), log),
            running_flow("analytics", environment, options("analytics"), log),
        ):
            wait_until(lambda: len(sink.index()) >= MAILS, 60, "all mail in the sink")
        again = append_requests(tmp_path / "data", 5)
        with (
            running_flow("render", environment, options("render") if form == "alone" else [], log),
            running_flow("dispatch", environment, [], log),
        ):
            wait_until(lambda: len(sink.index()) >= MAILS + 5, 60, "the mail after a restart")
        received = sorted(entry["id"] for entry in sink.index())
        print(f"\n{form}: {len(ids) + len(again)} appended, {len(received)} received")
        assert received == sorted(ids + again)


@pytest.mark.proof
def test_a_second_owner_says_who_holds_the_flow_and_exits(tmp_path):
    environment = {**os.environ, "SEALWAX_DATA_DIR": str(tmp_path / "data")}
    ready = tmp_path / "data" / "run" / "dispatch.ready"
    with running_flow("dispatch", environment, [], tmp_path / "first.log") as first:
        wait_until(ready.exists, 30, "the first dispatch to be ready")
        second = subprocess.run(
            [sys.executable, "-m", "bytewax.run", "flows.dispatch"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
        )
        print(f"\nsecond owner: status {second.returncode}, {second.stderr.strip()}")
        assert second.returncode == 1
        assert str(first.pid) in second.stderr
