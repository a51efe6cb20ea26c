"""Peers that take their time at the final dot: their mail is under a lease, across a stop too."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from sealwax.clock import TEST_CLOCK_FILE
from tests.support.log_view import leases, unsettled
from tests.support.moved_clock import MovedClock
from tests.support.platform import Platform, running_platform
from tests.support.sink import Sink, running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(180)]

MAILS = 6


def settings(tmp_path: Path, sink: Sink) -> dict[str, str]:
    return {
        "SEALWAX_SMTP_ROUTES": f"slow.test={sink.address}",
        "SEALWAX_LEASE_AFTER": "1s",
        "SEALWAX_DRAIN": "1s",
        TEST_CLOCK_FILE: str(tmp_path / "clock"),
    }


def send(platform: Platform) -> list[str]:
    return platform.send(
        [
            {"from": "a@acme.test", "to": f"u{i}@slow.test", "subject": "Hi", "text": "Hello"}
            for i in range(MAILS)
        ]
    )


def received(sink: Sink) -> Counter[str]:
    return Counter(entry["id"] for entry in sink.index())


def test_a_late_reply_is_the_outcome_and_its_lease_ends_without_one(tmp_path):
    clock = MovedClock(tmp_path / "clock")
    with (
        running_sink(tmp_path / "sink", "--pause-dot", "4") as sink,
        running_platform(tmp_path / "data", settings(tmp_path, sink)) as platform,
    ):
        ids = send(platform)
        wait_until(lambda: leases(platform.data_dir) == MAILS, 30, "a lease for each")
        for email_id in ids:
            platform.wait_for_step(email_id, "delivered")
        clock.forward(301)  # the topic of five minutes: the dot may last ten
        wait_until(lambda: unsettled(platform.data_dir) == 0, 30, "the leases to be settled")
        print(f"\nlate replies: {len(ids)} accepted, {sum(received(sink).values())} received")
        assert received(sink) == dict.fromkeys(ids, 1)
        assert leases(platform.data_dir) == MAILS


def test_what_hangs_at_the_dot_when_dispatch_stops_is_sent_again_in_doubt(tmp_path):
    clock = MovedClock(tmp_path / "clock")
    with (
        running_sink(tmp_path / "sink", "--pause-dot", "600", "--pauses", str(MAILS)) as sink,
        running_platform(tmp_path / "data", settings(tmp_path, sink)) as platform,
    ):
        ids = send(platform)
        sink.wait_for(MAILS)
        before = platform.pid("dispatch")
        platform.signal("dispatch", signal.SIGTERM)
        wait_until(lambda: platform.pid("dispatch") != before, 30, "another dispatch process")
        wait_until(
            lambda: unsettled(platform.data_dir) == leases(platform.data_dir) == MAILS,
            30,
            "leases alone",
        )
        assert sum(received(sink).values()) == MAILS, "nothing is sent again at once"
        clock.forward(301)
        steps = [platform.wait_for_step(email_id, "delivered") for email_id in ids]
        assert all(step["in_doubt"] and step["attempt"] == 2 for step in steps)
        print(f"\nin doubt: {len(ids)} accepted, {sum(received(sink).values())} received")
        assert received(sink) == dict.fromkeys(ids, 2)
        wait_until(lambda: unsettled(platform.data_dir) == 0, 30, "the leases to be settled")
