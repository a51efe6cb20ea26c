"""An SMTP engine for tests, which collects what it is told."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sealwax.smtp.engine import Job, Result, SmtpEngine
from sealwax.smtp.route import Route
from sealwax.smtp.settings import SmtpSettings
from tests.support.waiting import wait_until

MESSAGE = b"Subject: hello\r\n\r\nA line.\r\n.leading dot\r\n..two\r\n.\r\nThe end.\r\n"
QUICK = SmtpSettings(
    ehlo_name="client.test",
    connect_timeout=timedelta(seconds=2),
    banner_timeout=timedelta(seconds=0.3),
    tls_timeout=timedelta(seconds=0.3),
    command_timeout=timedelta(seconds=0.3),
    data_timeout=timedelta(seconds=0.3),
    block_timeout=timedelta(seconds=0.3),
    dot_timeout=timedelta(seconds=0.5),
    drain=timedelta(seconds=3),
    dns_timeout=timedelta(seconds=1),
)


# For tests in which no peer is silent: a busy machine is not to look like one.
PATIENT = replace(
    QUICK,
    banner_timeout=timedelta(seconds=30),
    command_timeout=timedelta(seconds=30),
    data_timeout=timedelta(seconds=30),
    block_timeout=timedelta(seconds=30),
    dot_timeout=timedelta(seconds=30),
)


class EngineUnderTest:
    """The engine, what it reported, and what its caller answers."""

    def __init__(self, settings: SmtpSettings) -> None:
        self.results: list[tuple[Job, Result]] = []
        self.hanging: list[tuple[Job, int]] = []
        self.held: list[Future[None]] = []
        self.hold = False
        self.may_send: Callable[[], bool] = lambda: True
        self.free: list[tuple[str, int]] = []
        self.engine = SmtpEngine(
            settings,
            self._on_result,
            self._on_hanging,
            self._may_send,
            on_free=lambda *said: self.free.append(said),
        )

    def _may_send(self) -> bool:
        return self.may_send()

    def _on_result(self, job: Job, result: Result) -> "Future[None]":
        future: Future[None] = Future()
        if self.hold:
            self.held.append(future)
        else:
            future.set_result(None)
        self.results.append((job, result))
        return future

    def _on_hanging(self, job: Job, until_ms: int) -> None:
        self.hanging.append((job, until_ms))

    def submit(self, *jobs: Job) -> None:
        self.engine.submit(jobs)

    def wait_for(self, count: int, timeout_s: float = 10) -> list[Result]:
        """The results, as soon as there are `count`."""
        wait_until(lambda: len(self.results) >= count, timeout_s, f"{count} results")
        assert len(self.results) == count
        return [result for _, result in self.results]

    def send(self, *jobs: Job) -> list[Result]:
        """Sends one after the other and returns their results."""
        before = len(self.results)
        for index, job in enumerate(jobs, start=1):
            self.submit(job)
            self.wait_for(before + index)
            self.settled()
        return [result for _, result in self.results[before:]]

    def settled(self) -> None:
        wait_until(lambda: not self.engine.busy(), 10, "the engine to be idle")


@contextmanager
def running_engine(settings: SmtpSettings = QUICK, **changes: Any) -> Iterator[EngineUnderTest]:
    """An engine that runs until the block ends; `changes` are settings."""
    under_test = EngineUnderTest(replace(settings, **changes))
    under_test.engine.start()
    try:
        yield under_test
    finally:
        under_test.engine.close()


def job(port: int | None, **changes: Any) -> Job:
    """A job for a server on loopback; without a port for the MX hosts of its domain."""
    one = Job(
        handle=object(),
        site="example.test",
        domain="example.test",
        route=None if port is None else Route("127.0.0.1", port),
        source_ip="",
        reverse_path="bounce@sender.test",
        rcpt="ada@example.test",
        message=MESSAGE,
    )
    changed = replace(one, **changes)
    if "site" in changes:
        return changed
    return replace(changed, site=f"{changed.domain}={changed.route or ''}")
