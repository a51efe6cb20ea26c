"""The wall clock is set back or forward under a running platform (R11)."""

import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.platform import Platform, running_platform
from tests.support.sink import Sink, running_sink
from tests.support.waiting import wait_until
from tests.support.wall_clock import WallClock

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(180)]

HOUR, DAY = 3_600, 86_400
FLOWS = ("render", "dispatch", "analytics")
MAILS = 600
DOMAINS = 10


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


def send(platform: Platform, count: int, host: str = "sink.test", **more: str) -> list[str]:
    return platform.send(
        [
            {
                "from": "hello@acme.test",
                "to": f"user{i}@d{i % DOMAINS}.{host}",
                "subject": f"Number {i}",
                "text": "x" * 4_000,
                **more,
            }
            for i in range(count)
        ]
    )


def received(sink: Sink) -> Counter[str]:
    return Counter(entry["id"] for entry in sink.index())


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "data.log").read_text()


def test_a_clock_that_goes_back_an_hour_stops_no_mail_and_doubles_none(tmp_path, clock):
    with running_sink(tmp_path / "sink", "--pause-dot", "0.05") as sink:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
            "SEALWAX_CONNECTIONS_PER_SITE": "2",
            **clock.environment,
        }
        with running_platform(tmp_path / "data", settings) as platform:
            before = {name: platform.pid(name) for name in FLOWS}
            ids = send(platform, MAILS)
            wait_until(lambda: len(sink.index()) > MAILS // 5, 60, "a part of the mail")
            clock.move_to(-HOUR)
            under_way = len(sink.index())
            wait_until(
                lambda: all(platform.pid(name) != pid for name, pid in before.items()),
                20,
                "other processes of all flows",
            )
            ids += send(platform, 100)
            wait_until(lambda: len(received(sink)) >= len(ids), 60, "all mail")
            wait_until(lambda: platform.stats().get("delivered", 0) >= len(ids), 40, "all outcomes")
            counts = received(sink)
            lost, doubled = set(ids) - set(counts), sum(n - 1 for n in counts.values())
            said = log_of(tmp_path)
            statuses = re.findall(r"ended +.*?status (\d+)", said)
            print(
                f"\nclock back: {len(ids)} accepted, {under_way} sent by then, {len(lost)} lost, "
                f"{doubled} doubled, ended with {statuses}"
            )
            assert not lost
            assert doubled == 0
            assert platform.stats()["delivered"] == len(ids)
            assert statuses == ["75"] * len(FLOWS)
            assert "keeps ending" not in said


def test_a_clock_that_goes_forward_two_days_expires_nothing_until_it_is_accepted(tmp_path, clock):
    reply = "RCPT=*@*.later.test:451 4.7.1 try again"
    with running_sink(tmp_path / "sink", "--reply", reply) as sink:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*.later.test={sink.address},*.sink.test={sink.address}",
            "SEALWAX_RETRY_DELAYS": "1s",
            **clock.environment,
        }
        with running_platform(tmp_path / "data", settings) as platform:
            ids = send(platform, 10, "later.test")
            wait_until(lambda: deferred(platform, ids) >= len(ids), 30, "first attempts")
            clock.move_to(2 * DAY)
            doctor = wait_until(
                lambda: text if "NOT trusted" in (text := platform.command("doctor")) else "",
                10,
                "the step to be seen",
            )
            assert "2 days" in doctor
            tried = deferred(platform, ids)
            wait_until(lambda: deferred(platform, ids) >= tried + 20, 40, "more attempts")
            assert verdicts(platform, ids)["expired"] == 0
            dispatch = platform.pid("dispatch")
            platform.signal("dispatch", signal.SIGTERM)
            wait_until(lambda: platform.pid("dispatch") != dispatch, 30, "another dispatch")
            tried = deferred(platform, ids)
            wait_until(lambda: deferred(platform, ids) >= tried + 20, 40, "attempts of the next")
            frozen = verdicts(platform, ids)
            assert frozen["expired"] == 0, "a restart must not trust the clock"
            send(platform, 1)
            wait_until(lambda: len(sink.index()) == 1, 20, "other mail to be delivered")
            assert "trusted" in platform.command("doctor", "--accept-clock")
            wait_until(lambda: verdicts(platform, ids)["expired"] == len(ids), 40, "expiry")
            print(
                f"\nclock forward: {len(ids)} accepted, {deferred(platform, ids)} attempts deferred, "
                f"{frozen['expired']} expired while frozen, "
                f"{verdicts(platform, ids)['expired']} after it was accepted"
            )


def deferred(platform: Platform, ids: list[str]) -> int:
    return sum(step["kind"] == "deferred" for i in ids for step in platform.timeline(i))


def verdicts(platform: Platform, ids: list[str]) -> Counter[str]:
    return Counter(step["kind"] for i in ids for step in platform.timeline(i))
