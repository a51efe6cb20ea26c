"""The platform with its events on a ClickHouse server, which is killed under load.

What stands in for the server is said in tests/support/clickhouse_http.py.
"""

import random
import signal
import time
from pathlib import Path

import pytest

from sealwax.store.processes import NAMES
from tests.support.clickhouse_http import running_clickhouse
from tests.support.dispatchers import Analyst
from tests.support.kafka import namespace
from tests.support.load import SEED, quiet, received, under_load
from tests.support.log_view import use_kafka
from tests.support.platform import Platform, running_platform
from tests.support.sink import running_sink
from tests.support.stored import stored
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_what_a_server_keeps_is_read_by_the_api_from_it(tmp_path: Path):
    with (
        running_clickhouse(tmp_path / "clickhouse") as server,
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {"CLICKHOUSE_URL": server.url, "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"},
        ) as platform,
    ):
        mail = {"from": "a@acme.test", "to": "ada@d.sink.test", "subject": "Hi", "text": "Hello"}
        (ident,) = platform.send([mail])
        assert platform.wait_for_step(ident, "delivered")
        wait_until(lambda: platform.stats()["delivered"] == 1, 20, "it to be counted")
        assert server.query(
            "SELECT toString(email_id), toString(kind) FROM events ORDER BY at"
        ) == [
            [ident, "rendered"],
            [ident, "delivered"],
        ]
        assert not (platform.data_dir / "clickhouse").exists()
        assert not (platform.data_dir / "run" / "analytics.sock").exists()
        server.kill()
        answer = platform.api.get("/v1/stats")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/events-away")
        server.start()
        assert platform.stats()["delivered"] == 1
        assert "secret" not in platform.output.read_text()


@pytest.mark.proof
@pytest.mark.parametrize("killed_too", [False, True], ids=["the server", "analytics too"])
def test_a_server_that_is_killed_and_hangs_under_load_has_each_row_once(
    tmp_path: Path, soak: bool, killed_too: bool
):
    """Where only the server fails, no process of the platform does."""
    rounds = 10 if soak else 2
    chance = random.Random(f"{SEED} clickhouse {killed_too}")
    with running_clickhouse(tmp_path / "clickhouse") as server:
        more = {"CLICKHOUSE_URL": server.url, "SEALWAX_ANALYTICS_INSERT_TIMEOUT": "2s"}
        with under_load(tmp_path, more) as (platform, sink, load):
            pids = [platform.pid(name) for name in NAMES]
            with load.running():
                for _ in range(rounds):
                    time.sleep(chance.uniform(1, 3))
                    server.kill()
                    time.sleep(chance.uniform(0, 2))
                    server.start()
                    time.sleep(chance.uniform(1, 2))
                    wait_until(lambda: platform.runs("analytics"), 60, "analytics to be there")
                    # It keeps what it was sent, and goes on with it when the client has given up.
                    server.send(signal.SIGSTOP)
                    time.sleep(chance.uniform(0, 4))
                    if killed_too:
                        platform.signal("analytics", signal.SIGKILL)
                        time.sleep(chance.uniform(0, 1))
                    server.send(signal.SIGCONT)
                time.sleep(1)
            wait_until(lambda: set(load.accepted) <= set(received(sink)), 240, "all mail")
            wait_until(lambda: quiet(platform), 240, "all outcomes, and their rows")
            assert killed_too or pids == [platform.pid(name) for name in NAMES]
            platform.stop()
        rows = stored(platform.data_dir, server.url)
        output = platform.output.read_text()
        failed, tries = output.count("looking at what is stored"), output.count("trying again")
        print(
            f"\n{rounds} kills and as many stops of up to 4 s, {killed_too=}, seed {SEED}: "
            f"{len(load.accepted)} mails, {rows.total} rows, {failed} inserts failed, {tries} tries"
        )
        assert failed + tries
        assert rows.missing == rows.extra == []
        assert rows.rows == rows.rolled_up
        platform.command("analytics", "rebuild")
        assert stored(platform.data_dir, server.url) == rows


@pytest.mark.proof
def test_an_analytics_process_that_stood_still_stores_nothing_that_another_one_has_stored(
    tmp_path: Path, kafka, soak: bool
):
    """It is stopped in the midst of an insert: its server stands still a moment before it does."""
    rounds = 5 if soak else 1
    chance = random.Random(f"{SEED} still")
    with running_clickhouse(tmp_path / "clickhouse") as server:
        on_kafka = use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), 4)
        more = {**on_kafka, "CLICKHOUSE_URL": server.url}
        with under_load(tmp_path, more) as (platform, sink, load):
            other = Analyst(tmp_path / "other", platform.environment)
            try:
                # Sometimes the partitions go to the other one as it comes, before anybody is stopped.
                for _ in range(4 * rounds):
                    if put_out(platform) >= rounds:
                        break
                    wait_until(lambda: owns_all(platform), 120, "it to own the partitions")
                    with load.running():
                        other.start()
                        time.sleep(chance.uniform(2, 4))
                        server.send(signal.SIGSTOP)
                        time.sleep(chance.uniform(0, 1.5))
                        platform.signal("analytics", signal.SIGSTOP)
                        time.sleep(chance.uniform(0, 2))
                        server.send(signal.SIGCONT)
                        other.wait_until_ready()
                        time.sleep(chance.uniform(0, 2))
                        platform.signal("analytics", signal.SIGCONT)
                        time.sleep(2)
                    wait_until(lambda: set(load.accepted) <= set(received(sink)), 240, "all mail")
                    wait_until(lambda: quiet(platform), 240, "all outcomes, and their rows")
                    assert other.stop() == 0
            finally:
                other.kill()
            lost = put_out(platform)
            platform.stop()
        rows = stored(platform.data_dir, server.url)
        print(
            f"\n{lost} stops of analytics that another one took over from, seed {SEED}: "
            f"{len(load.accepted)} mails, {rows.total} rows"
        )
        assert lost >= rounds
        assert rows.missing == rows.extra == []
        assert rows.rows == rows.rolled_up


def owns_all(platform: Platform) -> bool:
    """Whether the platform's own analytics has the partitions now, as it says."""
    said = platform.output.read_text()
    others = ("ownership is lost", "waiting for partitions", "starts anew")
    return said.rfind("owns partitions") > max(map(said.rfind, others))


def put_out(platform: Platform) -> int:
    """How often the platform's own analytics found out that another one had taken over."""
    return platform.output.read_text().count("ownership is lost")
