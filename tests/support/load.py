"""A client's load on a platform whose peers have moods, and what must hold when it is over."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import httpx

from sealwax.model import topics
from tests.support.log_view import opened, records, unsettled
from tests.support.platform import Platform, running_platform
from tests.support.sink import Sink, running_sink
from tests.support.stored import stored
from tests.support.waiting import wait_until

_NOTHING: Mapping[str, str] = MappingProxyType({})
DOMAINS = 5
SESSIONS = 4
SEED = random.SystemRandom().randrange(10**6)


class Pace(NamedTuple):
    """How much mail there is, and how fast it may go.

    A message takes its session some 80 ms, with the sink's pauses: four sessions to each of five
    domains are 250 mails/s.

    Attributes:
        batch: Mails in a call of the API.
        ahead: Mails on their way at most: the sink may be slower than the API.
        sessions: To each domain.
    """

    batch: int = 20
    ahead: int = 400
    sessions: int = SESSIONS


STEADY = Pace()
FAST = Pace(batch=50, ahead=1_000, sessions=12)


class Load:
    """A client that sends batches for as long as it lives, and keeps what was accepted."""

    def __init__(self, platform: Platform, sink: Sink, pace: Pace = STEADY) -> None:
        self._pace = pace
        self._sink = sink
        self.accepted: list[str] = []
        self._platform = platform
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._ended.is_set():
            if len(self.accepted) - self._sink.count() > self._pace.ahead:
                self._ended.wait(0.2)
                continue
            numbers = range(number, number + self._pace.batch)
            number += self._pace.batch
            try:
                self.accepted += self._platform.send([email(n) for n in numbers])
            except (httpx.HTTPError, AssertionError):
                time.sleep(0.1)  # without an answer nothing is promised
            self._ended.wait(0.05)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()


def email(number: int) -> dict[str, str]:
    return {
        "from": "hello@acme.test",
        "to": f"user{number}@d{number % DOMAINS}.sink.test",
        "subject": f"Number {number}",
        "text": "x" * 3_000,
    }


@contextmanager
def under_load(
    tmp_path: Path, more: Mapping[str, str] = _NOTHING, pace: Pace = STEADY
) -> Iterator[tuple[Platform, Sink, Load]]:
    """A platform whose peers sometimes answer 451, and sometimes sit on the final dot."""
    moods = ("--sometimes-later", "0.05", "--sometimes-slow", "0.02", "--seed", str(SEED))
    with running_sink(tmp_path / "sink", *moods, "--pause-dot", "0.02") as sink:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
            "SEALWAX_CONNECTIONS_PER_SITE": str(pace.sessions),
            "SEALWAX_RETRY_DELAYS": "1s",
            **more,
        }
        with running_platform(tmp_path / "data", settings) as platform:
            yield platform, sink, Load(platform, sink, pace)


def quiet(platform: Platform) -> bool:
    groups = {
        "render": topics.REQUESTED,
        "dispatch": (*topics.READY, *topics.RETRY),
        "analytics": (topics.EVENTS, *topics.RETRY),
    }
    return all(unsettled(platform.data_dir, group, *names) == 0 for group, names in groups.items())


def ended_well(name: str, rounds: int, platform: Platform, sink: Sink, load: Load) -> int:
    """Waits for the last mail and checks everything; how many mails came twice."""
    wait_until(lambda: set(load.accepted) <= set(received(sink)), 240, "all mail")
    wait_until(lambda: quiet(platform), 240, "all outcomes, and their rows")
    platform.stop()
    counts = received(sink)
    lost = set(load.accepted) - set(counts)
    doubled = sum(n - 1 for n in counts.values())
    rows = stored(platform.data_dir)
    with opened(platform.data_dir) as log:
        dead = [dict(record.headers).get("reason") for record in records(log, topics.DEAD)]
    print(
        f"\n{name}, {rounds} rounds, seed {SEED}: {len(load.accepted)} accepted, {len(lost)} lost, "
        f"{doubled} doubled, {rows.total} rows in ClickHouse, {len(dead)} dead"
    )
    assert not lost
    assert not dead
    assert rows.missing == rows.extra == []
    assert rows.rows == rows.rolled_up
    return doubled


def received(sink: Sink) -> Counter[str]:
    return Counter(entry["id"] for entry in sink.index())


def interrupt(platform: Platform, name: str, number: signal.Signals, chance: random.Random) -> None:
    time.sleep(chance.uniform(0.5, 2.5))
    if name == "supervisor":
        platform.kill_supervisor()
        platform.start()
        return
    before = platform.pid(name)
    platform.signal(name, number)
    wait_until(lambda: platform.pid(name) != before, 60, f"another {name}")
    wait_until(platform.is_ready, 60, "the platform to be ready")
