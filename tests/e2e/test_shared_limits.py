"""Dispatchers on one Kafka log that share a site's limits, over deaths of what counts them."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from pathlib import Path

import orjson
import pytest
import redis

from sealwax.model import topics
from sealwax.policy import sharing
from tests.support.counted_sink import CountedSink, counted_sink
from tests.support.dispatchers import Dispatcher, dispatchers
from tests.support.kafka import namespace
from tests.support.load import quiet
from tests.support.log_view import opened, records, use_kafka
from tests.support.platform import ROOT, Platform, running_platform
from tests.support.valkey import Valkey, running_valkey
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(400)]

DISPATCHERS = 3
CONNECTIONS = 7
RATE = 100
BURST = 10
SITE = "large.test"
PARTITIONS = 6
FIRST = "platform.test"


class Mail:
    """Emails to the site, numbered on."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.rcpts: list[str] = []
        self.ids: list[str] = []

    def send(self, count: int) -> None:
        rcpts = [f"user{len(self.rcpts) + n}@{SITE}" for n in range(count)]
        email = {"from": "hello@acme.test", "subject": "Hi", "text": "Hello"}
        self.ids += self._platform.send([{**email, "to": rcpt} for rcpt in rcpts])
        self.rcpts += rcpts


@contextmanager
def running(
    tmp_path: Path, on_kafka: dict[str, str], valkey: Valkey, sink: CountedSink
) -> Iterator[tuple[Platform, list[Dispatcher]]]:
    """A platform, whose mail to the site is in all partitions, and further dispatchers."""
    settings = {
        **on_kafka,
        "REDIS_URL": valkey.url,
        "SEALWAX_SMTP_ROUTES": f"{SITE}=127.0.0.1:{sink.port}",
        "SEALWAX_CONNECTIONS_PER_SITE": str(CONNECTIONS),
        "SEALWAX_RATE_PER_SITE": f"{RATE}/s",
        "SEALWAX_LARGE_DOMAINS": f"{SITE}={PARTITIONS}",
        "SEALWAX_EHLO_NAME": FIRST,
    }
    with (
        running_platform(tmp_path / "data", settings) as platform,
        dispatchers(tmp_path, platform.environment, DISPATCHERS - 1) as further,
    ):
        yield platform, further


def names_of_limits(valkey: Valkey) -> set[str]:
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        keys = client.scan_iter("*site:*")
        return {key[key.index("site:") :] for key in keys}


def most_above_rate(begun: Sequence[float]) -> float:
    """How many more transactions began in some span than the rate allows in it."""
    most = behind = 0.0
    for before, at in zip([begun[0], *begun], begun, strict=False):
        behind = max(0.0, behind - (at - before) * RATE) + 1
        most = max(most, behind)
    return most


def looks_like_any_other(platform: Platform, mail: Mail) -> None:
    """Mail to a domain that is spread, where its sender sees it, and in what becomes rows."""
    for path in ("", "/timeline"):
        answer = platform.api.get(f"/v1/emails/{mail.ids[-1]}{path}")
        assert answer.status_code == 200
        assert f"@{SITE}" in answer.text
        assert f"{SITE}#" not in answer.text
    with opened(platform.data_dir) as log:
        events = list(records(log, topics.EVENTS))
    delivered = [one for one in events if orjson.loads(one.value or b"")["kind"] == "delivered"]
    assert {one.partition for one in delivered} == set(range(PARTITIONS))
    assert {orjson.loads(one.value or b"")["rcpt_domain"] for one in events} == {SITE}
    assert not any(f"{SITE}#".encode() in (one.key or b"") + (one.value or b"") for one in events)


def test_a_limit_of_three_dispatchers_holds_while_its_server_and_one_of_them_are_killed(
    tmp_path, kafka
):
    on_kafka = use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), PARTITIONS)
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        counted_sink(0.03) as sink,
        running(tmp_path, on_kafka, valkey, sink) as (platform, (victim, other)),
    ):
        mail, names = Mail(platform), (FIRST, victim.name, other.name)

        def send_until_each(count: int, least: int, what: str) -> None:
            """Sends mail until each dispatcher has passed on `least` of it, or of what was before."""
            before = sink.taken_from.copy()
            mail.send(count)
            wait_until(
                lambda: all(sink.taken_from[n] - before[n] >= least for n in names), 120, what
            )

        send_until_each(150, 1, "all to send")
        send_until_each(300, 1, "all to have connections")
        assert names_of_limits(valkey) == {f"site:{SITE}"}
        valkey.kill()
        # More than the rate of a lease: each goes on with its part.
        send_until_each(250, RATE // 2, "mail to flow without the server")
        valkey.start()
        send_until_each(150, 10, "mail to flow again")
        owned = victim.said("owns")
        victim.kill()
        victim.start()
        wait_until(lambda: victim.said("owns") > owned, 90, "it to be there again")
        before = sink.taken_from[victim.name]
        mail.send(150)
        wait_until(lambda: len(sink.taken) >= len(mail.rcpts), 150, "all mail")
        wait_until(lambda: quiet(platform), 60, "all outcomes, and their rows")
        assert set(sink.taken) == set(mail.rcpts)
        assert sink.taken_from[victim.name] > before
        looks_like_any_other(platform, mail)
        twice = sum(sink.taken.values()) - len(mail.rcpts)
        above = most_above_rate(sorted(sink.begun))
        print(
            f"\n{len(mail.rcpts)} mails, {twice} twice, {RATE}/s exceeded by {above:.1f}, of "
            f"{CONNECTIONS} connections {sink.most_at_work} at work and {sink.most_open} open; "
            f"sent by each: {dict(sink.taken_from)}"
        )
        # A lease is a second of the rate. Each dispatcher alone rounds its part up, and what was let
        # go begins a moment later: no more than there are connections for.
        assert above <= RATE + BURST + DISPATCHERS + CONNECTIONS
        assert sink.most_at_work <= CONNECTIONS
        assert sink.most_open <= CONNECTIONS
        assert twice <= CONNECTIONS
        assert other.stop() == 0
    for output in (platform.output, other.output):
        said = output.read_text(errors="replace")
        assert said.count("shared limits are away") == 1
        assert said.count("shared limits are back") == 1


def test_a_process_that_stood_still_adds_no_more_than_what_it_held(tmp_path):
    with running_valkey(tmp_path / "valkey") as valkey, ExitStack() as stack:
        files = [tmp_path / f"process{number}" for number in range(3)]
        processes = [
            stack.enter_context(holding_permits(valkey.url, CONNECTIONS, file)) for file in files
        ]
        wait_until(lambda: all(len(events(file)) > 50 for file in files), 60, "all to have permits")
        processes[0].send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        time.sleep(sharing.PERMITS_MS / 1000)

        def by_others() -> list[tuple[float, int]]:
            return at_once([event for file in files[1:] for event in events(file)])

        wait_until(
            lambda: any(at > stopped_at and count == CONNECTIONS for at, count in by_others()),
            60,
            "the others to use its permits",
        )
        resumed_at = time.monotonic()
        processes[0].send_signal(signal.SIGCONT)
        wait_until(lambda: events(files[0])[-1][0] > resumed_at + 1, 60, "it to go on")
    held = [count for at, count in at_once(events(files[0])) if at <= stopped_at][-1]
    most = max(count for _, count in at_once([event for file in files for event in events(file)]))
    print(f"\nof {CONNECTIONS} permits it used {held} when it stopped; most at once {most}")
    assert most <= CONNECTIONS + held


@contextmanager
def holding_permits(url: str, most: int, file: Path) -> "Iterator[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "tests.support.limit_process", url, str(most), str(file)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def events(file: Path) -> list[tuple[float, int]]:
    """When the process began (1) or ended (-1) something."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    parts = [line.split() for line in lines if line.endswith("\n")]
    return [(float(at), int(change)) for at, change in parts]


def at_once(changes: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """How many there were at a time, after each change; ends count before begins."""
    ordered = sorted(changes)
    counts = accumulate(change for _, change in ordered)
    return [(at, count) for (at, _), count in zip(ordered, counts, strict=True)]
