"""A client's load on a platform whose peers have moods, and what must hold when it is over.

SEED=... in the environment makes the same moods, and a proof the same choices and waits; each run
says its own. The moments of the machine's own scheduling are not in it.
"""

import itertools
import os
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

from connectors.log.port import Log
from sealwax.model import topics
from tests.support.log_view import DISPATCHED, opened, records, waiting
from tests.support.platform import Platform, running_platform
from tests.support.sink import Sink, running_sink
from tests.support.stored import stored
from tests.support.waiting import wait_until

_NOTHING: Mapping[str, str] = MappingProxyType({})
DOMAINS = 5
SESSIONS = 4
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
_LOOK_EVERY_S = 0.5


class Pace(NamedTuple):
    """How much mail there is, and how fast it may go.

    A message takes its session some 80 ms, with the sink's pauses: four sessions to each of five
    domains are 250 mails/s.

    Attributes:
        batch: Mails in a call of the API.
        ahead: Mails on their way at most: the sink may be slower than the API.
        sessions: To each domain.
        keyed: Whether each call has an idempotency key, and is repeated until it is answered 202.
    """

    batch: int = 20
    ahead: int = 400
    sessions: int = SESSIONS
    keyed: bool = False


STEADY = Pace()
FAST = Pace(batch=100, ahead=1_000, sessions=12, keyed=True)
# The same for `make test`, which has no cores to spare for it.
CALM = FAST._replace(batch=20, ahead=200, sessions=SESSIONS)


class Load:
    """A client that sends batches while it runs, and keeps what was accepted.

    Attributes:
        accepted: The ids in its 202s.
        repeated: How many calls were repeated.
    """

    def __init__(self, platform: Platform, sink: Sink, pace: Pace = STEADY) -> None:
        self.pace = pace
        self._sink = sink
        self._platform = platform
        self._firsts = itertools.count(0, pace.batch)
        self._ended = threading.Event()
        self.accepted: list[str] = []
        self.repeated = 0

    def _run(self) -> None:
        while not self._ended.is_set():
            if len(self.accepted) - self._sink.count() > self.pace.ahead:
                self._ended.wait(0.2)
                continue
            first = next(self._firsts)
            emails = [email(n) for n in range(first, first + self.pace.batch)]
            self.accepted += self._send_keyed(emails) if self.pace.keyed else self._send(emails)
            self._ended.wait(0.05)

    def _send(self, emails: list[dict[str, str]], key: str = "") -> list[str]:
        try:
            return self._platform.send(emails, key)
        except (httpx.HTTPError, AssertionError):
            time.sleep(0.1)  # without an answer nothing is promised
            return []

    def _send_keyed(self, emails: list[dict[str, str]]) -> list[str]:
        tries = itertools.count()

        def accepted() -> list[str]:
            next(tries)
            return self._send(emails, f"from {emails[0]['to']}")

        ids = wait_until(accepted, 120, "a call with a key to be accepted")
        self.repeated += next(tries) > 1
        return ids

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sends until the block ends; a further block goes on with other recipients."""
        self._ended.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def doubled(self) -> int:
        """How many mails came again."""
        return sum(n - 1 for n in self._sink.received().values())

    def wait_for_all(self) -> None:
        """Waits until all that was accepted has come."""

        def missing() -> set[str]:
            return set(self.accepted) - self._sink.received().keys()

        wait_until(lambda: not missing(), 240, "all mail", _LOOK_EVERY_S)


def email(number: int) -> dict[str, str]:
    return {
        "from": "hello@acme.test",
        "to": f"user{number}@d{number % DOMAINS}.sink.test",
        "subject": f"Number {number}",
        "text": "x" * 300,
    }


@contextmanager
def under_load(
    tmp_path: Path, more: Mapping[str, str] = _NOTHING, pace: Pace = STEADY
) -> Iterator[tuple[Platform, Sink, Load]]:
    """A platform whose peers sometimes answer 451, and sometimes sit on the final dot."""
    print(f"\nSEED={SEED}", flush=True)
    moods = ("--sometimes-later", "0.05", "--sometimes-slow", "0.02", "--seed", str(SEED))
    options = (*moods, "--pause-dot", "0.02", "--index-only")
    with running_sink(tmp_path / "sink", *options) as sink:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
            "SEALWAX_CONNECTIONS_PER_SITE": str(pace.sessions),
            "SEALWAX_RETRY_DELAYS": "1s",
            **more,
        }
        with running_platform(tmp_path / "data", settings) as platform:
            yield platform, sink, Load(platform, sink, pace)


def quiet(platform: Platform) -> bool:
    """Whether all that was accepted has its outcomes, and they their rows."""
    with opened(platform.data_dir) as log:
        return _all_settled(log)


def _all_settled(log: Log) -> bool:
    groups = {
        "render": topics.REQUESTED,
        "dispatch": DISPATCHED,
        "analytics": (topics.EVENTS, *topics.RETRY),
    }
    return all(waiting(log, group, *names) == 0 for group, names in groups.items())


def ended_well(name: str, rounds: int, platform: Platform, sink: Sink, load: Load) -> int:
    """Waits for the last mail and checks everything; how many mails came twice."""
    load.wait_for_all()
    with opened(platform.data_dir) as log:
        wait_until(lambda: _all_settled(log), 240, "all outcomes, and their rows", _LOOK_EVERY_S)
    platform.stop()
    counts = received(sink)
    lost = set(load.accepted) - set(counts)
    doubled = load.doubled()
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
    return sink.received()


def interrupt(platform: Platform, name: str, number: signal.Signals, chance: random.Random) -> None:
    """SIGKILL or SIGTERM of a process, at some moment; until it, or another one, is ready again."""
    time.sleep(chance.uniform(0.5, 2.5))
    if name == "supervisor":
        if number == signal.SIGTERM:
            assert platform.terminate() == 0
        else:
            platform.kill_supervisor()
        platform.start()
        return
    before = platform.pid(name)
    platform.signal(name, number)
    wait_until(lambda: platform.pid(name) != before, 120, f"another {name}")
    wait_until(platform.is_ready, 120, "the platform to be ready")
