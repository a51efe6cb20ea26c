"""Records that abort() the process that works on them: put aside, and all others processed once."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import Dead, read_dead
from connectors.log.port import Entry, Log, Record, TopicPartition
from connectors.records import (
    WITH_ROWS,
    decode_deliveries,
    encode_deliveries,
    iso,
    message_header,
    row_of,
)
from sealwax import clock
from sealwax.errors import UnreadableRecordError
from sealwax.model import topics
from sealwax.model.email_id import email_id
from tests.support.analytics_process import said
from tests.support.deliveries import delivery
from tests.support.platform import ROOT
from tests.support.poisoned import POISON
from tests.support.requested import append_requests
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(240)]

GOOD = 300
REQUESTED = topics.requested(topics.Stream.TRANSACTIONAL)
READY = topics.ready(topics.Stream.TRANSACTIONAL)
# Three deaths among others, three alone, and some in runs that come closer.
MOST_DEATHS = 20


class Here:
    """A data directory, and a flow with a hook that is restarted as often as it dies."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "data"
        self.data_dir.mkdir()
        self.log: Log = open_log(LogSettings(self.data_dir / "log"))
        self.log.create_topics(topics.ALL)
        self.output = directory / "flow.log"
        self.settings: dict[str, str] = {}
        self.deaths = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, flow: str) -> "subprocess.Popen[bytes]":
        for ready in (self.data_dir / "run").glob("*.ready"):
            ready.unlink()
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", f"tests.support.poisoned:{flow}"],
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")},
                    "SEALWAX_DATA_DIR": str(self.data_dir),
                    **self.settings,
                },
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )
        return self.process

    def run_until_settled(self, flow: str, name: str) -> None:
        """Restarts the flow until it lives, and has settled all there is; then stops it."""
        while not self.lives(process := self.start(flow), name):
            assert process.returncode == -signal.SIGABRT, self.output.read_text()[-3000:]
            self.deaths += 1
            assert self.deaths <= MOST_DEATHS, self.output.read_text()[-3000:]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, self.output.read_text()[-3000:]

    def lives(self, process: "subprocess.Popen[bytes]", name: str) -> bool:
        """Whether the process settles all there is before it dies."""
        ready = self.data_dir / "run" / f"{name}.ready"

        def decided() -> bool:
            return process.poll() is not None or (ready.exists() and self.lag(name) == 0)

        wait_until(decided, 60, "its end")
        return process.poll() is None

    def wait_for_lag(self, group: str, most: int) -> None:
        wait_until(lambda: self.lag(group) <= max(0, most), 30, f"a lag of {most}")

    def lag(self, group: str) -> int:
        return sum(
            self.log.lag(group, TopicPartition(topic, n))
            for topic in self.sources(group)
            for n in range(self.log.partitions(topic))
        )

    def sources(self, group: str) -> tuple[str, ...]:
        return {
            "render": topics.REQUESTED,
            "dispatch": (*topics.READY, *topics.RETRY),
            "analytics": WITH_ROWS,
        }[group]

    def records(self, topic: str) -> list[Record]:
        return [
            record
            for n in range(self.log.partitions(topic))
            for tp in [TopicPartition(topic, n)]
            for record in self.log.scan(tp, 0, self.log.end_offset(tp))
        ]

    def dead(self) -> list[Dead]:
        return [read_dead(record) for record in self.records(topics.DEAD)]

    def assert_only_the_killers_are_dead(self, count: int, flow: str) -> None:
        dead = self.dead()
        said = self.output.read_text()
        print(f"\n{flow}: {self.deaths} deaths, {len(dead)} records put aside")
        assert [(d.reason, d.flow) for d in dead] == [("crashed", flow)] * count, said[-3000:]
        assert all(POISON in (d.inline or b"") for d in dead)
        assert said.count("a record kills the process") == count
        assert not (self.data_dir / "suspects" / f"{flow}.reached").exists()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    made.log.close()


def test_render_puts_a_request_that_kills_it_aside_and_renders_all_others_once(here):
    ids = append_requests(here.data_dir, GOOD // 2)
    bad = append_requests(here.data_dir, 2, subject=POISON.decode())
    ids += append_requests(here.data_dir, GOOD // 2)
    here.run_until_settled("render", "render")
    here.assert_only_the_killers_are_dead(2, "render")
    rendered = []
    for decoded in decode_deliveries([r.value or b"" for r in here.records(READY)]):
        assert not isinstance(decoded, UnreadableRecordError)
        rendered.append(decoded.email_id)
    assert sorted(rendered) == sorted(ids)
    events = [orjson.loads(record.value or b"") for record in here.records(topics.EVENTS)]
    rejected = [event for event in events if event["kind"] == "rejected"]
    assert sorted(event["email_id"] for event in rejected) == sorted(bad)
    assert {event["class"] for event in rejected} == {"crashed"}
    assert all(event["tenant"] for event in rejected)
    assert len(events) == GOOD + 2


def test_kills_and_stops_from_outside_at_any_moment_put_nothing_aside(here):
    draw = random.Random(16)
    ids = append_requests(here.data_dir, 3_000)
    ready = here.data_dir / "run" / "render.ready"
    for number in [signal.SIGKILL] * 6 + [signal.SIGTERM] * 2:
        process = here.start("render")
        wait_until(ready.exists, 30, "render to be ready")
        # Some right after the start, when the watermark has hardly moved, some later.
        here.wait_for_lag("render", here.lag("render") - draw.choice([0, 0, 1, 200]))
        process.send_signal(number)
        process.wait(60)
    careful = here.output.read_text().count("they are handed out by few")
    here.run_until_settled("render", "render")
    decoded = decode_deliveries([r.value or b"" for r in here.records(READY)])
    rendered = [d.email_id for d in decoded if not isinstance(d, UnreadableRecordError)]
    print(f"\n8 kills and stops, {careful} careful starts, {len(here.dead())} put aside")
    assert here.dead() == []
    assert sorted(rendered) == sorted(ids)


def test_dispatch_puts_a_message_that_kills_it_aside_and_delivers_all_others_once(here, tmp_path):
    now_ms = clock.now_ms()
    made = [
        delivery(
            email_id=email_id(now_ms, os.urandom(10)),
            rcpt=f"user{n}@d{n % 10}.sink.test",
            rcpt_domain=f"d{n % 10}.sink.test",
            accepted_at_ms=now_ms,
            since_ms=now_ms,
            give_up_at_ms=now_ms + 86_400_000,
            message=b"Subject: %d\r\n\r\n%b\r\n" % (n, POISON if n == GOOD // 2 else b"hello"),
        )
        for n in range(GOOD)
    ]
    values = encode_deliveries([(each, b"") for each in made])
    entries = [
        Entry(n % 4, b"k", value, (message_header(made[n]),)) for n, value in enumerate(values)
    ]
    here.log.append_wait(READY, entries)
    with running_sink(tmp_path / "sink") as sink:
        here.settings = {"SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"}
        here.run_until_settled("dispatch", "dispatch")
        here.assert_only_the_killers_are_dead(1, "dispatch")
        received = Counter(rcpt for entry in sink.index() for rcpt in entry["rcpts"])
    expected = {each.rcpt for n, each in enumerate(made) if n != GOOD // 2}
    assert set(received) == expected
    (killer,) = (orjson.loads(row_of(record)) for record in here.records(topics.DEAD))
    assert (killer["kind"], killer["email_id"]) == ("failed", made[GOOD // 2].email_id)
    delivered = [orjson.loads(record.value or b"") for record in here.records(topics.EVENTS)]
    assert Counter(event["kind"] for event in delivered) == {"delivered": GOOD - 1}
    # The process died with sessions open: those may double, as after any kill (R2).
    doubled = sum(received.values()) - len(expected)
    print(f"dispatch: {doubled} doubled by {here.deaths} deaths")


@pytest.mark.parametrize("flow", ["analytics", "analytics_reading"])
def test_analytics_puts_a_row_that_kills_it_aside_and_stores_all_others_once(here, flow):
    poisoned = (70, 90) if flow == "analytics" else (70,)
    now_ms = clock.now_ms()
    values = []
    for n in range(GOOD):
        rcpt = f"{POISON.decode() if n in poisoned else 'user'}{n}@b.test"
        row = {
            "tenant": "t",
            "email_id": email_id(now_ms, os.urandom(10)),
            "at": iso(now_ms),
            "kind": "delivered",
            "rcpt": rcpt,
        }
        values.append(orjson.dumps(row))
    here.log.append_wait(
        topics.EVENTS, [Entry(n % 2, b"k", value) for n, value in enumerate(values)]
    )
    here.run_until_settled(flow, "analytics")
    here.assert_only_the_killers_are_dead(len(poisoned), "analytics")
    stored = said("count_rows", here.data_dir)
    assert stored == {"rows": GOOD - len(poisoned), "emails": GOOD - len(poisoned)}
