"""One kill -9 of dispatch and one SIGTERM under load: nothing is lost, and little comes twice."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.platform import Platform, running_platform
from tests.support.sink import Sink, running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

MAILS = 1_500
DOMAINS = 10
SESSIONS = 4


@pytest.fixture
def sink(tmp_path: Path):
    with running_sink(tmp_path / "sink", "--pause-dot", "0.03") as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path, sink: Sink):
    settings = {
        "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
        "SEALWAX_CONNECTIONS_PER_SITE": str(SESSIONS),
    }
    with running_platform(tmp_path / "data", settings) as running:
        yield running


def load(platform: Platform) -> set[str]:
    return set(
        platform.send(
            [
                {
                    "from": "hello@acme.test",
                    "to": f"user{i}@d{i % DOMAINS}.sink.test",
                    "subject": f"Number {i}",
                    "text": "x" * 4_000,
                }
                for i in range(MAILS)
            ]
        )
    )


def received(sink: Sink) -> Counter[str]:
    return Counter(entry["id"] for entry in sink.index())


def settled(platform: Platform) -> bool:
    return platform.stats().get("delivered", 0) >= MAILS


def interrupted_by(number: signal.Signals, platform: Platform, sink: Sink) -> Counter[str]:
    ids = load(platform)
    wait_until(lambda: len(sink.index()) > MAILS // 4, 60, "a quarter of the mail")
    before = platform.pid("dispatch")
    platform.signal("dispatch", number)
    wait_until(lambda: platform.pid("dispatch") != before, 30, "another dispatch process")
    wait_until(lambda: len(received(sink)) >= MAILS, 90, "all mail")
    wait_until(lambda: settled(platform), 30, "all outcomes in ClickHouse")
    counts = received(sink)
    lost, doubled = ids - set(counts), sum(n - 1 for n in counts.values())
    print(f"\n{number.name}: {len(ids)} accepted, {len(lost)} lost, {doubled} doubled")
    assert not lost
    assert platform.stats()["delivered"] == MAILS
    return counts


def test_a_kill_loses_nothing_and_doubles_at_most_the_open_sessions(platform, sink):
    counts = interrupted_by(signal.SIGKILL, platform, sink)
    assert sum(n - 1 for n in counts.values()) <= DOMAINS * SESSIONS


def test_a_stop_loses_nothing_and_doubles_nothing(platform, sink):
    counts = interrupted_by(signal.SIGTERM, platform, sink)
    assert sum(n - 1 for n in counts.values()) == 0
