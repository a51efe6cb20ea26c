"""Keyed sends while the API is killed, each repeated until its 202 and once more: mail comes once."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.load import quiet
from tests.support.platform import Platform, running_platform
from tests.support.sink import Sink, running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(900)]

MAILS = 1_000
SOAK_MAILS = 10_000
CLIENTS = 8
KILLS = 3


@pytest.fixture
def mails(soak: bool) -> int:
    return SOAK_MAILS if soak else MAILS


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with running_sink(tmp_path / "sink") as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path, sink: Sink) -> Iterator[Platform]:
    settings = {"SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"}
    with running_platform(tmp_path / "data", settings) as running:
        yield running


class Clients:
    """Send each mail under its own key, again and again until it is accepted."""

    def __init__(self, platform: Platform, mails: int) -> None:
        self._http = platform.api
        self._left = iter(range(mails))
        self._lock = threading.Lock()
        self.ids: dict[int, str] = {}
        self.seen: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                number = next(self._left, None)
            if number is None:
                return
            ident = wait_until(partial(self._send, number), 120, f"mail {number} to be accepted")
            with self._lock:
                self.ids[number] = ident

    def _send(self, number: int) -> str:
        """The id in the 202, or nothing."""
        email = {
            "from": "hello@acme.test",
            "to": f"user{number}@d{number % 10}.sink.test",
            "subject": f"Number {number}",
            "text": "x" * 500,
        }
        try:
            answer = self._http.post(
                "/v1/emails", json=email, headers={"Idempotency-Key": f"mail-{number}"}
            )
        except httpx.TransportError as error:
            self._count(type(error).__name__)
            return ""
        self._count(str(answer.status_code))
        return str(answer.json()["id"]) if answer.status_code == 202 else ""

    def _count(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1


def test_each_keyed_mail_arrives_once_although_the_api_is_killed(platform, sink, mails):
    clients = Clients(platform, mails)
    for kill in range(1, KILLS + 1):
        kill_api_at(mails * kill // (KILLS + 1), clients, platform)
    clients.join()
    again = Clients(platform, mails)  # as those whose 202 was lost on its way
    again.join()
    assert again.ids == clients.ids
    wait_until(lambda: sink.received().total() >= mails, 300, "all mail", 0.5)
    wait_until(lambda: quiet(platform), 120, "all outcomes, and their rows", 0.5)
    came = sink.received()
    lost = set(clients.ids.values()) - set(came)
    doubled = sum(n - 1 for n in came.values())
    stats = platform.stats()
    print(
        f"\n{mails} keyed sends, API killed {KILLS} times, answers {dict(clients.seen)}, "
        f"then {dict(again.seen)}: "
        f"{len(came)} emails arrived, {len(lost)} lost, {doubled} doubled; "
        f"{stats['deduplicated']} requests stood in the log twice"
    )
    assert len(set(clients.ids.values())) == mails
    assert not lost
    assert doubled == 0
    assert len(came) == mails
    assert stats["delivered"] == stats["rendered"] == mails
    rcpts = Counter(rcpt for entry in sink.index() for rcpt in entry["rcpts"])
    assert set(rcpts.values()) == {1}


def kill_api_at(accepted: int, clients: Clients, platform: Platform) -> None:
    wait_until(lambda: len(clients.ids) > accepted, 300, f"{accepted} accepted mails")
    killed = platform.pid("api")
    platform.signal("api", signal.SIGKILL)
    wait_until(lambda: platform.pid("api") != killed, 120, "another API process")
