"""What becomes of mail that is not taken: deferred, refused, and no server there at all."""

from pathlib import Path

import pytest

from sealwax.clock import TEST_CLOCK_FILE
from tests.support.moved_clock import MovedClock
from tests.support.platform import Platform, free_port, running_platform
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

MINUTE, HOUR = 60, 3_600


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path / "clock")


def settings(tmp_path: Path, routes: str) -> dict[str, str]:
    return {"SEALWAX_SMTP_ROUTES": routes, TEST_CLOCK_FILE: str(tmp_path / "clock")}


def send(platform: Platform, to: str, **more: str) -> str:
    email = {"from": "hello@acme.test", "to": to, "subject": "Hi", "text": "Hello", **more}
    return platform.send([email])[0]


def attempts(platform: Platform, email_id: str) -> int:
    return sum(step["kind"] == "attempted" for step in platform.timeline(email_id))


def wait_for_attempt(platform: Platform, email_id: str, number: int) -> None:
    wait_until(lambda: attempts(platform, email_id) >= number, 30, f"attempt {number}")


def test_a_deferred_mail_is_tried_again_by_the_schedule(tmp_path, clock):
    reply = "RCPT=*@later.test:451 4.7.1 try again:times=3"
    with (
        running_sink(tmp_path / "sink", "--reply", reply) as sink,
        running_platform(
            tmp_path / "data", settings(tmp_path, f"later.test={sink.address}")
        ) as platform,
    ):
        email_id = send(platform, "ada@later.test")
        platform.wait_for_step(email_id, "deferred")
        for made, wait_s in enumerate((MINUTE, 5 * MINUTE, 15 * MINUTE), start=1):
            assert attempts(platform, email_id) == made
            assert not sink.index()
            clock.forward(wait_s + 11)  # the jitter is at most ten seconds
            wait_for_attempt(platform, email_id, made + 1)
        platform.wait_for_step(email_id, "delivered")
        assert len(sink.index()) == 1
        steps = platform.timeline(email_id)
        waits = [s["ms"] for s in steps if s["kind"] == "waited" and s["cause"] == "retry"]
        print(f"\nretry waits in ms: {waits}")
        for wait_ms, planned_s in zip(waits, (MINUTE, 5 * MINUTE, 15 * MINUTE), strict=True):
            assert planned_s * 1000 <= wait_ms <= planned_s * 1000 + 10_000


def test_a_refused_mail_bounces_at_once(tmp_path, clock):
    reply = "RCPT=*@no.test:550 5.1.1 no such user"
    with (
        running_sink(tmp_path / "sink", "--reply", reply) as sink,
        running_platform(
            tmp_path / "data", settings(tmp_path, f"no.test={sink.address}")
        ) as platform,
    ):
        email_id = send(platform, "nobody@no.test")
        step = platform.wait_for_step(email_id, "bounced")
        assert (step["code"], step["status"], step["command"]) == (550, "5.1.1", "RCPT")
        email = platform.api.get(f"/v1/emails/{email_id}").json()
        assert email["status"] == "bounced"
        assert email["recipients"][0]["verdict"] == "bounced"


def test_a_dead_port_is_tried_again_and_expires_with_an_alert(tmp_path, clock):
    routes = f"dead.test=127.0.0.1:{free_port()}"
    with running_platform(tmp_path / "data", settings(tmp_path, routes)) as platform:
        email_id = send(platform, "ada@dead.test", give_up_after="2m")
        first = platform.wait_for_step(email_id, "deferred")
        assert first["command"] == "CONNECT"
        assert "refused" in first["reply"]
        clock.forward(MINUTE + 11)
        wait_for_attempt(platform, email_id, 2)
        clock.forward(MINUTE)
        step = platform.wait_for_step(email_id, "expired")
        assert step["class"] == "expired"
        assert step["alert"] is True
        assert attempts(platform, email_id) == 3
        assert platform.api.get(f"/v1/emails/{email_id}").json()["status"] == "expired"
