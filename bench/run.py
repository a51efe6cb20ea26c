"""End to end on this machine: `make bench`. Prints figures, asserts nothing.

Starts the platform as a user does (`sealwax up`, embedded defaults), feeds it 5 KB mails by the
batch API, and lets an SMTP sink take them: Postfix's smtp-sink, or with --sink mail the project's
own. Prints mails per second over --seconds, CPU per mail and peak memory by process, and the time
from the 202 to the sink's 250 at a tenth of that rate.
"""

import argparse
import importlib.metadata
import os
import platform as machine
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import httpx

from bench.mails import DOMAINS, email
from bench.stages import Stages
from sealwax.store.processes import NAMES
from tests.support.platform import Platform, free_port, running_platform
from tests.support.waiting import wait_until

BATCH = 500
AHEAD = 6_000  # mails that are accepted and not delivered yet, at most
# By name what finds the pids of processes; they may be others after a restart.
Pids = Mapping[str, Callable[[], Sequence[int]]]
BUDGET_US = {"api": 40, "render": 350, "dispatch": 110, "analytics": 40}


class Feeder(threading.Thread):
    """Sends batches for as long as few enough mails are on their way."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(daemon=True)
        self.platform = platform
        self.accepted = 0
        self.ended = threading.Event()
        self._before = delivered(platform)
        self._delivered = 0

    def run(self) -> None:
        while not self.ended.is_set():
            if self.accepted - self._delivered > AHEAD:
                time.sleep(0.5)
                self._delivered = delivered(self.platform) - self._before
                continue
            mails = [email(self.accepted + i) for i in range(BATCH)]
            self.platform.api.post("/v1/emails/batch", json=mails).raise_for_status()
            self.accepted += BATCH

    def is_done(self) -> bool:
        """Whether all that it sent is delivered."""
        return delivered(self.platform) - self._before >= self.accepted


def delivered(platform: Platform) -> int:
    return platform.stats().get("delivered", 0)


def cpu_s(pids: Pids) -> dict[str, float]:
    """By name the CPU time of processes, and of their children that have ended, in seconds."""
    return {name: sum(map(_cpu_s, pids_of())) for name, pids_of in pids.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def idle_s() -> float:
    """How long all cores together have had nothing to do."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[4]) / os.sysconf("SC_CLK_TCK")


def _pid(platform: Platform, name: str) -> list[int]:
    return [platform.pid(name)]


def written_kb(platform: Platform) -> dict[str, float]:
    """KB that each process sent to the disk; overwritten pages count each time."""
    written = {}
    for name in NAMES:
        lines = Path(f"/proc/{platform.pid(name)}/io").read_text().splitlines()
        written[name] = int(dict(line.split(": ") for line in lines)["write_bytes"]) / 1024
    return written


def sink(kind: str, address: str, folder: Path) -> "subprocess.Popen[bytes]":
    if kind == "smtp-sink":
        program = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            sys.exit("smtp-sink is missing: apt-get install postfix, or use --sink mail")
        command = [program, "-m", "3000", "-u", "nobody", address, "1000"]
    else:
        command = [
            *(sys.executable, "-m", "tests.support.mail_sink"),
            *("--listen", address, "--dir", str(folder)),
        ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def throughput(platform: Platform, seconds: float, others: Pids = MappingProxyType({})) -> float:
    """Mails a second; prints it, and what each of them costs each process and all `others`."""
    ours: Pids = {name: partial(_pid, platform, name) for name in NAMES}
    pids = {**ours, **others}
    feeder = Feeder(platform)
    feeder.start()
    time.sleep(5)
    before, cpu_before, began = delivered(platform), cpu_s(pids), time.monotonic()
    kb_before, idle_before = written_kb(platform), idle_s()
    time.sleep(seconds)
    after, cpu_after, took = delivered(platform), cpu_s(pids), time.monotonic() - began
    kb_after, idle_after = written_kb(platform), idle_s()
    feeder.ended.set()
    feeder.join()
    mails = after - before
    print(f"\nsustained over {took:.0f} s: {mails / took:,.0f} mails/s ({mails:,} mails)")
    print(
        f"{'process':<10} {'CPU us/mail':>12} {'budget':>8} {'peak MB':>8} {'KB/mail to disk':>16}"
    )
    us = {name: (cpu_after[name] - cpu_before[name]) / max(1, mails) * 1e6 for name in pids}
    for name in NAMES:
        kb = (kb_after[name] - kb_before[name]) / max(1, mails)
        peak = platform.peak_mb(name)
        print(f"{name:<10} {us[name]:>12.0f} {BUDGET_US[name]:>8} {peak:>8} {kb:>16.1f}")
    for name in others:
        print(f"{name:<10} {us[name]:>12.0f}")
    idle = (idle_after - idle_before) / took / (os.cpu_count() or 1)
    print(f"{'all':<10} {sum(us.values()):>12.0f}    ({idle:.0%} of the cores idle, sink included)")
    wait_until(feeder.is_done, 120, "the rest to be delivered")
    return mails / took


def latency(platform: Platform, per_second: float, seconds: float) -> None:
    ids = []
    for i in range(int(per_second * seconds)):
        began = time.monotonic()
        ids.append(platform.api.post("/v1/emails", json=email(i)).json()["id"])
        time.sleep(max(0.0, 1 / per_second - (time.monotonic() - began)))
    time.sleep(3)
    took = sorted(_ms(platform, email_id) for email_id in ids[:: max(1, len(ids) // 400)])
    p99 = took[int(len(took) * 0.99)]
    print(f"\nat {per_second:.0f} mails/s, {len(ids)} mails, {len(took)} looked at:")
    print(f"accept to the sink's 250: p50 {statistics.median(took):.0f} ms, p99 {p99:.0f} ms")


def _ms(platform: Platform, email_id: str) -> float:
    from datetime import datetime

    step = platform.wait_for_step(email_id, "delivered")
    first = platform.timeline(email_id)[0]
    at, end = (datetime.fromisoformat(s["at"]) for s in (first, step))
    return (end - at).total_seconds() * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sink", choices=["smtp-sink", "mail"], default="smtp-sink")
    parser.add_argument("--to", help="host:port of an SMTP server of yours, in place of a sink")
    arguments = parser.parse_args()
    versions = {
        p: importlib.metadata.version(p) for p in ("sealwax", "bytewax", "aiosmtplib", "chdb")
    }
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    print(
        f"machine: {os.cpu_count()} cores, {cpu}, {machine.platform()}; load {os.getloadavg()[0]}"
    )
    print(f"Python {machine.python_version()}, {versions}, httpx {httpx.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        peer = arguments.to or f"127.0.0.1:{free_port()}"
        print(
            f"method: batch API in, RSA-2048 and Ed25519, 5 KB, {DOMAINS} domains, "
            f"{arguments.to or arguments.sink} out"
        )
        target = None if arguments.to else sink(arguments.sink, peer, Path(folder) / "sink")
        try:
            routes = {"SEALWAX_SMTP_ROUTES": f"*.sink.test={peer}"}
            with running_platform(Path(folder) / "data", routes) as platform:
                rate = throughput(platform, arguments.seconds)
                latency(platform, max(1, rate / 10), 20)
            Stages(Path(folder) / "stages").run()
        finally:
            if target is not None:
                target.terminate()
                target.wait()


if __name__ == "__main__":
    main()
