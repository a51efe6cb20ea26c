"""Rows into a ClickHouse server, each once: over breaks, half inserts, waits and stops.

The server is the stand-in of tests/support/clickhouse_http.py: the real client over HTTP, the real
engine behind it, and a way to it that breaks where a test says so.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.io import Flush
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import followed
from connectors.clickhouse.repair import repair
from connectors.clickhouse.rows import Line, insert, line_of, stop_inserts
from connectors.log import LogSettings, open_log
from connectors.log.fences import Writer, fence_entry
from connectors.log.port import Committed, Entry, Log, Record, TopicPartition
from sealwax import clock
from sealwax.model import topics
from sealwax.model.email_id import email_id
from sealwax.store.analytics.port import AnalyticsAwayError, QueryError
from sealwax.store.analytics.server import ClickHouseServer, ServerAnalytics
from tests.support.platform import free_port
from tests.support.storing import SOURCES, Breaking, appended, event, held, never, sink_over
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TIMEOUT = timedelta(seconds=30)
SHORT = timedelta(seconds=1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(LogSettings(tmp_path / "log", len(SOURCES)))) as log:
        log.create_topics(topics.ALL)
        yield log


@pytest.mark.parametrize("share", [0, 0.4, 1], ids=["nothing", "a part", "all"])
def test_an_insert_that_broke_after_a_share_was_stored_is_made_whole(server, log, share):
    records = appended(log, [event(n) for n in range(500)])
    sink, _ = sink_over(log, lambda: Breaking(server.client(), 3, share), never)
    sink.write_batch([*records, Flush()])
    sink.close()
    places, rolled_up, twice = held(server.client())
    assert (len(places), rolled_up, twice) == (500, 500, 0)
    assert sum(log.lag(GROUP, tp) for tp in SOURCES) == 0


def test_a_bad_line_is_put_aside_once_however_often_its_insert_breaks(server, log):
    values = [event(n) for n in range(20)]
    values[7] = event(7, kind="no such kind")
    values[9] = b"not json"
    records = appended(log, values)
    sink, _ = sink_over(log, lambda: Breaking(server.client(), 4, 0.3), never)
    sink.write_batch([*records, Flush()])
    places, rolled_up, twice = held(server.client())
    assert (len(places), rolled_up, twice) == (18, 18, 0)
    dead = [r for n in range(2) for r in log.scan(TopicPartition(topics.DEAD, n), 0, 100)]
    reasons = sorted(dict(record.headers)["reason"].decode() for record in dead)
    assert reasons == ["not_a_row", "row_refused"]


def test_a_sink_that_is_stopped_while_the_server_is_away_leaves_its_range_to_the_next_start(
    server, log
):
    records = appended(log, [event(n) for n in range(100)])
    sink, _ = sink_over(log, lambda: Breaking(server.client(), 100, 0.5), lambda _: True)
    sink.write_batch([*records[:20], Flush()])
    # What comes after it may not be committed over the range that is uncertain.
    sink.write_batch([*records[20:], Flush()])
    sink.close()
    assert log.committed(GROUP, SOURCES[0]) == Committed(0, "19")
    patience = Patience(None, None, never)
    positions = repair(
        log,
        server.client(),
        SOURCES,
        Burial(log, SOURCES),
        patience,
        followed(log, SOURCES, in_cluster=False),
    )
    places, rolled_up, twice = held(server.client())
    assert (len(places), rolled_up, twice) == (20, 20, 0)
    assert positions[SOURCES[0]] == 20


def test_a_start_waits_for_a_server_that_is_away(server, log):
    appended(log, [event(n) for n in range(10)])
    log.commit(GROUP, {tp: Committed(0, "4") for tp in SOURCES}, durable=True)
    waited = []

    def waiting(seconds: float) -> bool:
        waited.append(seconds)
        return False

    client: Any = Breaking(server.client(), 6, 0)
    bury, patience = Burial(log, SOURCES), Patience(None, None, waiting)
    positions = repair(
        log, client, SOURCES, bury, patience, followed(log, SOURCES, in_cluster=False)
    )
    assert waited == [0.5, 1, 2, 4, 8, 10]
    assert positions == dict.fromkeys(SOURCES, 5)
    assert held(server.client())[1:] == (10, 0)


def test_a_repair_that_is_tried_again_takes_what_stands_before_a_fence_and_not_what_is_late(
    server, log
):
    old, new = Writer("dispatch", 0, 1), Writer("dispatch", 0, 2)
    log.append_wait(
        topics.EVENTS,
        [
            Entry(0, None, event(1), (old.header(),)),
            fence_entry(0, new),
            Entry(0, None, event(2), (old.header(),)),
            Entry(0, None, event(3), (new.header(),)),
        ],
    )
    log.commit(GROUP, {SOURCES[0]: Committed(0, "3")}, durable=True)
    client: Any = Breaking(server.client(), 2, 0)
    bury, follows = Burial(log, SOURCES), followed(log, SOURCES, in_cluster=False)
    repair(log, client, SOURCES, bury, Patience(None, None, never), follows)
    assert held(server.client())[0] == [(0, 0), (0, 3)]
    assert follows[SOURCES[0]].fences.before(4) == (new,)


def test_an_insert_that_goes_on_without_its_client_is_ended_and_others_are_not(server):
    """What it stored after a look at what is stored would be there twice."""
    client = server.client()
    ended: list[Exception | None] = []

    def slow(mark: str) -> None:
        text = (
            "INSERT INTO events (tenant, email_id, at, kind, _topic) SELECT 't', generateUUIDv7(),"
            " now(), 'delivered', 'slow' FROM numbers(1000) WHERE sleepEachRow(0.01) = 0"
            " SETTINGS max_block_size = 1"
        )
        try:
            server.client().command(text, settings={"log_comment": mark})
            ended.append(None)
        except ClickHouseError as error:
            ended.append(error)

    threads = [
        threading.Thread(
            target=slow, args=(f"sealwax analytics in sealwax .{number}.",), daemon=True
        )
        for number in (1, 11)
    ]
    for thread in threads:
        thread.start()
    running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] LIKE 'sealwax%'"
    wait_until(lambda: client.query(running).result_rows[0][0] == 2, 20, "both to run")
    stop_inserts(client, [1, 2])
    threads[0].join(20)
    assert getattr(ended[0], "code", None) == 394  # QUERY_WAS_CANCELLED
    assert client.query(running).result_rows[0][0] == 1
    stop_inserts(client, [11])
    threads[1].join(20)
    assert len(ended) == 2


def test_a_start_stores_once_what_an_insert_of_the_last_run_is_still_storing(server, log):
    records = appended(log, [event(n) for n in range(100)])
    client = server.client()
    bury = Burial(log, SOURCES)
    lines = [line for record in records if (line := line_of(record, bury))]
    insert(client, lines, bury, Patience(None, None))
    client.command("CREATE OR REPLACE TABLE late ENGINE = Memory AS SELECT * FROM events")
    for table in ("events", "stats_hourly"):
        client.command(f"TRUNCATE TABLE {table}")
    log.commit(GROUP, {tp: Committed(0, "49") for tp in SOURCES}, durable=True)

    def last_run() -> None:
        with suppress(ClickHouseError):
            client.command(
                "INSERT INTO events SELECT * FROM late WHERE sleepEachRow(0.025) = 0",
                settings={"log_comment": "sealwax analytics in sealwax .0.1."},
            )

    thread = threading.Thread(target=last_run, daemon=True)
    thread.start()
    running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] LIKE 'sealwax%'"
    wait_until(lambda: client.query(running).result_rows[0][0], 20, "the insert of the last run")
    repair(
        log,
        client,
        SOURCES,
        Burial(log, SOURCES),
        Patience(None, None, never),
        followed(log, SOURCES, in_cluster=False),
    )
    thread.join(30)
    places, rolled_up, twice = held(client)
    assert (len(places), rolled_up, twice) == (100, 100, 0)


@contextmanager
def hanging_up() -> Iterator[tuple[int, list[bytes]]]:
    """A server that reads a request and closes without an answer; its port, and the requests."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(0.5)
                    read = b""
                    try:
                        while piece := connection.recv(1 << 16):
                            read += piece
                    except TimeoutError:
                        pass
                    requests.append(read)
                    # With data unread a close is a reset, as of a server that was killed.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], requests
        finally:
            listener.close()


@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "as we send it"])
def test_the_client_sends_an_insert_once_where_we_insert(server, monkeypatch, as_bytes):
    """The client sends bytes again when a connection is reset, which would store rows twice."""
    client = server.client()
    record = Record(topics.EVENTS, 0, 0, None, b"", (), 0)
    with hanging_up() as (port, requests):
        monkeypatch.setattr(client._backend, "_base_url", f"http://127.0.0.1:{port}/")
        with pytest.raises(OperationalError):
            if as_bytes:
                client.raw_insert("events", insert_block=event(1), fmt="JSONEachRow")
            else:
                insert(client, [Line(record, event(1))], lambda *_: None, Patience(None, None))
    assert len(requests) == (2 if as_bytes else 1)
    assert event(1)[:10] in requests[0]


def test_the_schema_of_a_server_is_made_once_and_its_database_where_it_is_missing(stand_in):
    for _ in range(2):
        server = ClickHouseServer(stand_in.url.removesuffix("sealwax") + "another", TIMEOUT)
        versions = (
            server.client().query("SELECT version FROM schema_version ORDER BY 1").result_rows
        )
        assert versions == [(1,), (2,), (3,)]


@contextmanager
def analytics(url: str, timeout: timedelta = TIMEOUT) -> Iterator[ServerAnalytics]:
    with closing(ServerAnalytics(ClickHouseServer(url, timeout), SHORT)) as asker:
        yield asker


def test_the_api_reads_what_was_stored(server, stand_in, log):
    records = appended(log, [event(n) for n in range(10)])
    sink, _ = sink_over(log, server.client, never)
    sink.write_batch([*records, Flush()])
    ident = orjson.loads(records[0].value or b"")["email_id"]
    today = clock.now().date()
    with analytics(stand_in.url) as asker:
        (row,) = asker.rows_of_email("t", ident)
        days = asker.daily_stats("t", today - timedelta(days=2), today)
    assert (row["kind"], row["rcpts"]) == ("delivered", 0)
    assert row["at"].endswith("Z")
    assert sum(day["delivered"] for day in days) == 10


def test_a_server_that_is_away_or_has_no_tables_yet_is_events_that_cannot_be_read(stand_in):
    missing = stand_in.url.removesuffix("sealwax") + "not_there"
    with analytics(missing) as asker, pytest.raises(AnalyticsAwayError, match="tables"):
        asker.rows_of_email("t", email_id(0, bytes(10)))
    with (
        analytics(f"http://127.0.0.1:{free_port()}", SHORT) as asker,
        pytest.raises(AnalyticsAwayError, match="CLICKHOUSE_URL"),
    ):
        asker.rows_of_email("t", "x")


def test_an_error_of_the_server_is_none_of_a_server_that_is_away(server, stand_in):
    with analytics(stand_in.url) as asker, pytest.raises(QueryError, match="UUID"):
        asker.rows_of_email("t", "no id")


def test_a_password_that_is_wrong_is_said_by_the_server(stand_in):
    wrong = ClickHouseServer(stand_in.url.replace("secret", "guess"), TIMEOUT)
    with pytest.raises(ClickHouseError, match="Authentication"):
        wrong.client()
