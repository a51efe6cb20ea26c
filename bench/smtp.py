"""Figures of the SMTP engine: `python bench/smtp.py [--to host:port] [--seconds 5]`.

The engine sends 5 KB messages on N kept sessions. Every result is acknowledged by another thread,
which stands for the log's group commit: it takes all results that wait, waits COMMIT_S, ends their
futures, and submits as many new jobs. What strict acknowledgement costs shows beside rounds in which
a session goes on at once. Without --to, Postfix' smtp-sink is the peer.
"""

import argparse
import platform
import shutil
import statistics
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.metadata import version

from sealwax.smtp.engine import Job, Result, SmtpEngine
from sealwax.smtp.route import Route
from sealwax.smtp.settings import SmtpSettings

MESSAGE = b"Subject: bench\r\n\r\n" + (b"x" * 70 + b"\r\n") * 70  # 5 KB
COMMIT_S = 0.002
ROUNDS = 3
SINK_PORT = 12_526


class Caller:
    """Keeps N jobs in the engine, and acknowledges in groups."""

    def __init__(self, route: Route, sessions: int, limit: int, *, strict: bool = True) -> None:
        self._strict = strict
        self._waiting: deque[tuple[Future[None], Job]] = deque()
        self.accepted = self.refused = 0
        settings = SmtpSettings(ehlo_name="bench.test", messages_per_session=limit)
        self.engine = SmtpEngine(settings, self._on_result, lambda *_: None, lambda: True)
        self._sessions = sessions
        self._job = Job(None, "", "x.test", route, "", "a@b.test", "c@x.test", MESSAGE)
        self._stop = threading.Event()

    def _on_result(self, job: Job, result: Result) -> "Future[None]":
        future: Future[None] = Future()
        if result.accepted:
            self.accepted += 1
        else:
            self.refused += 1
            print(result)
        if not self._strict:
            future.set_result(None)
            self._waiting.append((Future(), job))
            return future
        self._waiting.append((future, job))
        return future

    def _commit(self) -> None:
        while not self._stop.wait(COMMIT_S):
            group = [self._waiting.popleft() for _ in range(len(self._waiting))]
            for future, _ in group:
                future.set_result(None)
            if group:
                self.engine.submit([job for _, job in group])

    def run(self, seconds: float) -> tuple[float, float]:
        """Messages a second, and CPU microseconds of the engine's thread a message."""
        self.engine.start()
        committer = threading.Thread(target=self._commit)
        committer.start()
        self.engine.submit([self._job] * self._sessions)
        time.sleep(0.5)  # sessions are open, code is warm
        thread = next(one for one in threading.enumerate() if one.name == "smtp-engine")
        clock_id = time.pthread_getcpuclockid(thread.ident or 0)
        before, count, begun = time.clock_gettime(clock_id), self.accepted, time.monotonic()
        time.sleep(seconds)
        cpu_s, sent = time.clock_gettime(clock_id) - before, self.accepted - count
        elapsed = time.monotonic() - begun
        self.engine.drain()
        self._stop.set()
        committer.join()
        self.engine.close()
        return sent / elapsed, cpu_s / max(sent, 1) * 1e6


@contextmanager
def peer(to: str | None) -> Iterator[Route]:
    if to:
        host, _, port = to.rpartition(":")
        yield Route(host, int(port))
        return
    program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise SystemExit(
            "smtp-sink is not installed (Debian package postfix); or use --to host:port"
        )
    with subprocess.Popen([program, "-u", "nobody", f"127.0.0.1:{SINK_PORT}", "1000"]) as sink:
        time.sleep(0.5)
        try:
            yield Route("127.0.0.1", SINK_PORT)
        finally:
            sink.terminate()


def processor() -> str:
    with open("/proc/cpuinfo") as info:
        lines = info.read().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", help="host:port of a peer that takes everything")
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("aiosmtplib", "uvloop"))
    print(f"machine: {processor()}; Python {platform.python_version()}, {versions}")
    print(
        f"method: {len(MESSAGE)} byte messages to {arguments.to or 'smtp-sink'} on loopback, group"
    )
    print(
        f"  commit each {COMMIT_S * 1000:g} ms, median of {ROUNDS} rounds of {arguments.seconds:g} s"
    )
    print("sessions  messages/session  acknowledged  messages/s  CPU us/message (engine's thread)")
    with peer(arguments.to) as route:
        many = 1_000_000
        for sessions, limit, strict in (
            (20, many, True),
            (20, many, False),
            (200, many, True),
            (200, many, False),
            (20, 100, True),
            (20, 1, True),
        ):
            rounds = [
                Caller(route, sessions, limit, strict=strict).run(arguments.seconds)
                for _ in range(ROUNDS)
            ]
            rate = statistics.median(rate for rate, _ in rounds)
            cpu = statistics.median(cpu for _, cpu in rounds)
            kept = "unlimited" if limit > 100 else limit
            how = "strictly" if strict else "never"
            print(f"{sessions:8}  {kept:>16}  {how:>12}  {rate:10,.0f}  {cpu:14,.0f}", flush=True)


if __name__ == "__main__":
    main()
