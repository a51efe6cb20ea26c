"""ClickHouse, or what runs in this process, does not answer: every wait ends in time."""

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sealwax.store.analytics.port import AnalyticsAwayError
from sealwax.store.analytics.socket import AnalyticsServer, SocketAnalytics
from tests.support.waiting import ends_within

SHORT = timedelta(seconds=0.3)
ROOT = Path(__file__).parents[2]


def test_an_analytics_process_that_never_answers_is_away(tmp_path):
    path = tmp_path / "analytics.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with (
            closing(SocketAnalytics(path, SHORT)) as analytics,
            ends_within(5),
            pytest.raises(AnalyticsAwayError, match="timed out"),
        ):
            analytics.rows_of_email("t", "x")


def test_a_query_that_clickhouse_stopped_is_events_that_cannot_be_read(tmp_path):
    """What it says is real: tests/unit/store/analytics/test_embedded.py."""

    def stopped(_text: str, _params: object) -> bytes:
        raise RuntimeError("Code: 159. DB::Exception: Timeout exceeded: elapsed 1.2 seconds")

    path = tmp_path / "analytics.sock"
    with (
        closing(AnalyticsServer(path, lambda: stopped)),
        closing(SocketAnalytics(path)) as asker,
        pytest.raises(AnalyticsAwayError, match="took too long"),
    ):
        asker.rows_of_email("t", "x")


def test_a_query_that_waits_for_others_too_long_is_events_that_cannot_be_read(tmp_path):
    over, path = threading.Event(), tmp_path / "analytics.sock"

    def long(_text: str, _params: object) -> bytes:
        over.wait(30)
        return b""

    with (
        closing(AnalyticsServer(path, lambda: long, SHORT)),
        closing(SocketAnalytics(path)) as asker,
        ThreadPoolExecutor(5) as others,
    ):
        asked = [others.submit(asker.rows_of_email, "t", "x") for _ in range(5)]
        with pytest.raises(AnalyticsAwayError, match="took too long"):
            next(as_completed(asked, timeout=5)).result()
        over.set()
        assert sum(one.exception() is None for one in asked) == 4


_INSERT_HANGS = """
import time
from datetime import timedelta
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.rows import Line, insert
from connectors.log.port import Record

class Hanging:
    database = "sealwax"

    def raw_insert(self, *_, **__):
        time.sleep(60)

record = Record("email.events", 0, 0, None, b"{}", (), 0)
insert(Hanging(), [Line(record, b"{}")], None, Patience(timedelta(seconds=0.3), None))
"""


_REPAIR_HANGS = """
import time
from datetime import timedelta
from connectors.clickhouse.burial import Burial
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import followed
from connectors.clickhouse.repair import repair
from connectors.log.port import Committed, TopicPartition

class Log:
    def committed_all(self, group, tps):
        return {tp: Committed(0, "1") for tp in tps}
    def start_offsets(self, tps):
        return dict.fromkeys(tps, 0)
    end_offsets = start_offsets
    def scan(self, tp, start, end):
        return iter(())
    def scan_all(self, ranges):
        return iter(())

class Silent:
    database = "sealwax"

    def query(self, *args, **options):
        time.sleep(60)

log, sources = Log(), [TopicPartition("email.events", 0)]
patience = Patience(timedelta(9), timedelta(0, 0.3))
repair(log, Silent(), sources, Burial(log, sources), patience, followed(log, sources, in_cluster=False))
"""


_OPENING_HANGS = """
import time
from datetime import timedelta
from connectors.clickhouse.patience import opened

opened(lambda: time.sleep(60), timedelta(seconds=0.3))
"""


_ENGINE_HANGS = """
import time
from tests.support.smtp_engine import QUICK
from sealwax.smtp import engine

engine._ANSWER_TIMEOUT_S = 0.3
running = engine.SmtpEngine(QUICK, None, None, lambda: True)
running.start()
running._call(time.sleep, 60)
running.drain()
"""


@pytest.mark.parametrize(
    "program",
    [_INSERT_HANGS, _REPAIR_HANGS, _OPENING_HANGS, _ENGINE_HANGS],
    ids=["insert", "repair", "opening", "engine"],
)
def test_what_hangs_in_the_process_ends_it_and_the_next_start_goes_on(program):
    with ends_within(30):
        run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert run.returncode == 70
    assert b"hangs" in run.stdout + run.stderr
