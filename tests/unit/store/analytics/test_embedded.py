"""The schema and the queries over a real chDB.

A process opens one ClickHouse directory in its life: all of this module's tests share one.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from sealwax import clock
from sealwax.model.email_id import email_id
from sealwax.model.timeline import timeline
from sealwax.store.analytics.embedded import EmbeddedClickHouse
from sealwax.store.analytics.migrations import migrate
from sealwax.store.analytics.port import AnalyticsAwayError, QueryError
from sealwax.store.analytics.queries import FOR_OPERATORS, TEXTS
from sealwax.store.analytics.socket import AnalyticsServer, SocketAnalytics

# Yesterday at noon: rows older than 90 days are dropped, so a fixed date would not do.
DAY: date = clock.now().date() - timedelta(days=1)
NOON_MS = int(datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC).timestamp() * 1000)
ID = email_id(NOON_MS, bytes(10))


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedClickHouse:
    directory = tmp_path_factory.mktemp("analytics #1%20") / "clickhouse"
    return EmbeddedClickHouse(directory, query_timeout=timedelta(seconds=2))


@pytest.fixture
def client(clickhouse: EmbeddedClickHouse) -> Client:
    client = clickhouse.client()
    client.command("TRUNCATE TABLE sealwax.events")
    client.command("TRUNCATE TABLE sealwax.stats_hourly")
    return client


@pytest.fixture
def analytics(
    clickhouse: EmbeddedClickHouse, client: Client, tmp_path: Path
) -> Iterator[SocketAnalytics]:
    path = tmp_path / "analytics.sock"
    with closing(AnalyticsServer(path, clickhouse.runner)), closing(SocketAnalytics(path)) as asker:
        yield asker


def store(client: Client, *rows: dict[str, Any]) -> None:
    least = {"tenant": "t", "email_id": ID, "kind": "delivered", "_topic": "email.events"}
    client.raw_insert(
        "sealwax.events",
        insert_block=b"\n".join(json.dumps({**least, **row}).encode() for row in rows),
        fmt="JSONEachRow",
        settings={"date_time_input_format": "best_effort"},
    )


def at(time: str, day: date = DAY) -> str:
    return f"{day.isoformat()}T{time}Z"


def test_the_schema_may_be_applied_again_from_any_point(client):
    versions = "SELECT version, name FROM sealwax.schema_version ORDER BY version"
    before = client.query(versions).result_rows
    client.command("TRUNCATE TABLE sealwax.schema_version")
    migrate(client)
    migrate(client)
    after = client.query(versions).result_rows
    assert (
        after
        == before
        == [
            (1, "0001_events.sql"),
            (2, "0002_failed.sql"),
            (3, "0003_reply_fates.sql"),
        ]
    )


def test_inserts_are_written_within_the_directory_and_not_kept(clickhouse, client):
    inserts = Path(tempfile.gettempdir())
    store(client, {"at": at("12:00:00.000")})
    assert inserts.name == "inserts"
    assert not list(inserts.iterdir())


def test_an_inserted_row_is_on_the_disk_when_the_insert_returns(client):
    created = client.query("SHOW CREATE TABLE sealwax.events").result_rows[0][0]
    assert "fsync_after_insert = 1" in created
    assert "fsync_part_directory = 1" in created


@pytest.mark.parametrize(
    "time",
    [
        None,
        "1969-01-01T00:00:00Z",
        "2200-01-01T00:00:00Z",
        f"{DAY - timedelta(days=90)}T00:00:00Z",  # past the TTL: dropped, while roll-ups count it
    ],
)
def test_a_row_whose_time_cannot_be_is_refused_instead_of_dropped(client, time):
    with pytest.raises(DatabaseError, match="at_sane"):
        store(client, {"at": time} if time else {})


def test_a_row_without_its_place_in_the_log_is_refused(client):
    with pytest.raises(DatabaseError, match="has_place"):
        store(client, {"at": at("12:00:00.000"), "_topic": ""})


def test_rows_of_an_email_come_in_the_order_of_time_with_every_column(client, analytics):
    delivered = {
        "at": at("12:00:01.250"),
        "rcpt": "ädä@b.test",
        "reply": 'said "ok"\r\n\u2028and more',
        "tags": {"campaign": "x"},
        "waits.cause": ["queue", "rate"],
        "waits.rule": ["", "b.test"],
        "waits.ms": [1, 2],
        "in_doubt": True,
        "request_offset": 2**60,
        "smtp_ms": 30,
    }
    store(client, delivered, {"at": at("12:00:00.007"), "kind": "rendered", "rcpts": 1})
    rendered, row = analytics.rows_of_email("t", ID)
    assert (rendered["kind"], rendered["at"]) == ("rendered", at("12:00:00.007"))
    assert {name: row[name] for name in delivered} == delivered
    assert row["email_id"] == ID
    assert [s["kind"] for s in timeline([rendered, row])][-2:] == ["attempted", "delivered"]


def test_another_tenant_sees_nothing_of_an_email(client, analytics):
    store(client, {"at": at("12:00:00.000")})
    assert analytics.rows_of_email("other", ID) == []
    assert analytics.rows_of_email("t", ID) != []
    assert sum(analytics.daily_stats("other", DAY, DAY)[0][k] for k in ("delivered",)) == 0


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - FOR_OPERATORS.keys()))
def test_every_query_is_about_one_tenant(name):
    assert "WHERE tenant = {tenant:String}" in TEXTS[name]


def test_text_of_a_user_is_a_value_and_never_sql(client, analytics):
    store(client, {"at": at("12:00:00.000")})
    for text in ("t' OR '1'='1", "{tenant:String}", "t\\'", "%(tenant)s", "\x00", "t\n"):
        assert analytics.rows_of_email(text, ID) == []
    with pytest.raises(QueryError):
        analytics.rows_of_email("t", "' OR 1=1 --")


def test_a_query_cannot_write(clickhouse):
    with pytest.raises(DatabaseError, match="readonly"):
        clickhouse.runner()("TRUNCATE TABLE sealwax.events", {})


def test_a_query_that_takes_too_long_is_stopped_and_events_cannot_be_read(analytics, monkeypatch):
    slow = "SELECT sum(sipHash64(number)) AS n FROM numbers(1000000000000)"
    monkeypatch.setitem(TEXTS, "rows_of_email", slow)
    with pytest.raises(AnalyticsAwayError, match="took too long"):
        analytics.rows_of_email("t", ID)


def test_stats_count_recipients_by_day_and_accepted_is_what_came_of_the_requests(client, analytics):
    day_after = DAY + timedelta(days=1)
    store(
        client,
        *({"at": at("00:00:00.000"), "kind": "rendered", "rcpt_index": n} for n in range(3)),
        {"at": at("23:59:59.999"), "kind": "delivered"},
        {"at": at("12:00:00.000"), "kind": "bounced"},
        {"at": at("12:00:00.000"), "kind": "suppressed"},
        {"at": at("12:00:00.000"), "kind": "rejected"},
        {"at": at("00:00:00.000", day_after), "kind": "delivered", "in_doubt": True},
        {"at": at("00:00:00.001", day_after), "kind": "deferred", "in_doubt": True},
    )
    before, day, after = analytics.daily_stats("t", DAY - timedelta(days=1), day_after)
    assert before["date"] == (DAY - timedelta(days=1)).isoformat()
    assert before["accepted"] == before["delivered"] == 0
    assert (day["rendered"], day["accepted"], day["delivered"], day["bounced"]) == (3, 5, 1, 1)
    assert (after["accepted"], after["delivered"], after["deferred"]) == (0, 1, 1)
    assert [one["in_doubt"] for one in (before, day, after)] == [0, 0, 2]


def test_replies_that_no_rule_knew_are_found_for_all_tenants_and_the_others_are_not(
    client, analytics
):
    said = {"provider": "gmx", "command": "RCPT", "code": 550, "reply": "what?", "kind": "bounced"}
    unknown = {**said, "rule": "unknown.5xx", "rule_version": 1}
    store(
        client,
        {"at": at("10:00:00.000"), **unknown},
        {"at": at("12:00:00.000"), **unknown, "tenant": "other"},
        {"at": at("13:00:00.000"), **unknown, "reply": "why?", "path_fate": ""},
        {"at": at("12:00:00.000"), **said, "rule": "gmx.policy", "recipient_fate": "suppress"},
        {"at": at("12:00:00.000"), **said},
        {"at": at("09:59:59.000"), **unknown},
    )
    since = datetime.fromisoformat(at("10:00:00.000"))
    why, what = analytics.unknown_replies(since)
    assert (why["reply"], why["n"]) == ("why?", 1)
    assert what == {
        "provider": "gmx",
        "command": "RCPT",
        "code": 550,
        "status": "",
        "reply": "what?",
        "n": 2,
        "first_at": at("10:00:00.000"),
        "last_at": at("12:00:00.000"),
    }
