"""The analytics flow as `python -m bytewax.run flows.analytics` runs it: what the log holds can be
asked for over its socket, soon, once, and after every kind of end."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import orjson
import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, Log, TopicPartition
from connectors.records import iso
from sealwax import clock
from sealwax.model import topics
from sealwax.model.email_id import email_id
from sealwax.store.analytics.port import AnalyticsAwayError
from sealwax.store.analytics.socket import SocketAnalytics
from tests.support.platform import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TENANT = "t"
# What the issue promises at low load, from durable to readable.
READABLE_WITHIN_S = 2


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def log(data_dir: Path) -> Iterator[Log]:
    with closing(open_log(LogSettings(data_dir / "log"))) as log:
        log.create_topics(topics.ALL)
        yield log


@pytest.fixture
def analytics(data_dir: Path) -> Iterator[SocketAnalytics]:
    with closing(SocketAnalytics(data_dir / "run" / "analytics.sock")) as asker:
        yield asker


def start(data_dir: Path, options: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
    """A flow that has begun to read."""
    ready = data_dir / "run" / "analytics.ready"
    ready.unlink(missing_ok=True)
    with (data_dir.parent / "flow.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", "flows.analytics", *options],
            env={**os.environ, "SEALWAX_DATA_DIR": str(data_dir)},
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    wait_until(lambda: ready.exists() or process.poll() is not None, 60, "the flow to be ready")
    assert process.poll() is None, (data_dir.parent / "flow.log").read_text()
    return process


def stop(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


@contextmanager
def running(data_dir: Path, options: Sequence[str] = ()) -> Iterator["subprocess.Popen[bytes]"]:
    process = start(data_dir, options)
    try:
        yield process
    finally:
        if process.poll() is None:
            assert stop(process) == 0, (data_dir.parent / "flow.log").read_text()


def append_delivered(log: Log, count: int) -> list[str]:
    """Rows of so many emails, each with one recipient, into all partitions; the emails' ids."""
    now_ms = clock.now_ms()
    ids = [email_id(now_ms, random.randbytes(10)) for _ in range(count)]
    partitions = log.partitions(topics.EVENTS)
    log.append_wait(
        topics.EVENTS,
        [
            Entry(
                i % partitions,
                None,
                orjson.dumps(
                    {"tenant": TENANT, "email_id": ident, "at": iso(now_ms), "kind": "delivered"}
                ),
            )
            for i, ident in enumerate(ids)
        ],
    )
    return ids


def delivered(analytics: SocketAnalytics) -> int:
    today = clock.now().date()
    days = analytics.daily_stats(TENANT, today - timedelta(days=1), today)
    return sum(day["delivered"] for day in days)


@pytest.mark.parametrize("options", [[], ["-w2"]], ids=["one worker", "two workers"])
def test_a_row_is_readable_two_seconds_after_it_is_durable(data_dir, log, analytics, options):
    with running(data_dir, options):
        for _ in range(3):
            (ident,) = append_delivered(log, 1)
            rows = partial(analytics.rows_of_email, TENANT, ident)
            wait_until(rows, READABLE_WITHIN_S, "the row of an email")


@pytest.mark.parametrize("options", [[], ["-w2"]], ids=["one worker", "two workers"])
def test_a_stop_leaves_nothing_half_done_and_answers_no_more(data_dir, log, analytics, options):
    with running(data_dir, options) as flow:
        append_delivered(log, 3_000)
        wait_until(lambda: delivered(analytics), 10, "the first rows")
        assert stop(flow) == 0
    with pytest.raises(AnalyticsAwayError):
        delivered(analytics)
    for number in range(log.partitions(topics.EVENTS)):
        committed = log.committed("analytics", TopicPartition(topics.EVENTS, number))
        assert committed is not None
        assert committed.metadata == "", "the last range is done, nothing is left to look up"
    with running(data_dir, options):
        wait_until(lambda: delivered(analytics) == 3_000, 10, "each row once")


def test_kills_at_any_moment_neither_lose_nor_double_a_row(data_dir, log, analytics):
    draw = random.Random(10)
    ids: list[str] = []
    for _ in range(4):
        flow = start(data_dir)
        for _ in range(draw.randrange(1, 5)):
            ids += append_delivered(log, 2_000)
            wait_until(lambda: delivered(analytics), 10, "rows")
        flow.kill()
        flow.wait()
    with running(data_dir):
        wait_until(lambda: delivered(analytics) == len(ids), 20, f"{len(ids)} rows")
        assert [
            len(analytics.rows_of_email(TENANT, ident)) for ident in ids[:: len(ids) // 50]
        ] == [1] * len(ids[:: len(ids) // 50])


def test_a_kill_leaves_no_insert_behind(data_dir, log, analytics):
    inserts = data_dir / "clickhouse" / "inserts"
    flow = start(data_dir)
    flow.kill()
    flow.wait()
    (inserts / "tmp_of_a_killed_insert.raw").write_bytes(b'{"rcpt":"ada@b.test"}')
    with running(data_dir):
        assert not list(inserts.iterdir())
