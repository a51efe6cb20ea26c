"""deploy/clickhouse: the tables of a cluster and of the Kafka engine, as far as chDB can show them.

chDB has no Keeper, no ON CLUSTER and no remote servers, and its Kafka engine must not be started. So
here a cluster's tables are made with the same columns and keys on one engine, and the Kafka table as
one that takes inserts. What is left to a real cluster stands in docs/operations.md.
"""

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.client import Client
from typing_extensions import override

from connectors.clickhouse import repair as repairing
from connectors.clickhouse import roll_up
from connectors.clickhouse.burial import Burial
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import followed
from connectors.clickhouse.rows import insert, line_of
from connectors.log import LogSettings, open_log
from connectors.log.dead import dead_entry
from connectors.log.fences import Fences, Writer, fence_entry
from connectors.log.port import Committed, Entry, Record, TopicPartition
from connectors.records import encode_deliveries, iso
from sealwax import clock
from sealwax.model import topics
from sealwax.model.email_id import email_id
from sealwax.store.analytics.cluster import Cluster, cluster_of
from sealwax.store.analytics.cluster_ddl import cluster_ddl
from sealwax.store.analytics.queries import TEXTS
from sealwax.store.analytics.server import ClickHouseServer
from tests.support.clickhouse_http import StandIn, running_clickhouse
from tests.support.deliveries import delivery

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[4] / "deploy" / "clickhouse"
CLUSTER = (DEPLOY / "cluster.sql").read_text()
KAFKA = (DEPLOY / "kafka_engine.sql").read_text()
TIMEOUT = timedelta(seconds=60)
NOW_MS = clock.now_ms()
# What the Kafka engine gives beside the value.
QUEUE = """CREATE TABLE sealwax_kafka.queue (
  value String, _key String, _topic LowCardinality(String), _partition UInt64, _offset UInt64,
  `_headers.name` Array(String), `_headers.value` Array(String)
) ENGINE = Null"""


def statements(text: str) -> list[str]:
    without = re.sub(r"^--.*\n", "", text, flags=re.MULTILINE)
    return [part.strip() for part in re.split(r";\s*\n", without + "\n") if part.strip()]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with running_clickhouse(tmp_path_factory.mktemp("ddl") / "clickhouse") as running:
        yield running


@pytest.fixture(scope="module")
def client(stand_in: StandIn) -> Client:
    """In the database that the platform makes."""
    return ClickHouseServer(stand_in.url, TIMEOUT).client()


def test_the_file_of_the_cluster_is_current():
    assert cluster_ddl() == CLUSTER, "run make docs"


@pytest.mark.parametrize("text", [CLUSTER, KAFKA], ids=["cluster", "kafka engine"])
def test_every_statement_is_one_that_clickhouse_can_read(client, text):
    for statement in statements(text):
        quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
        assert client.query(f"SELECT formatQuery('{quoted}')").row_count


def shape(client: Client, database: str, table: str) -> dict[str, Any]:
    """Columns with types, defaults and codecs, and keys, of a table."""
    name = {"d": database, "t": table}
    columns = client.query(
        "SELECT name, type, default_kind, default_expression, compression_codec FROM system.columns"
        " WHERE database = {d:String} AND table = {t:String} ORDER BY position",
        parameters=name,
    ).result_rows
    keys = client.query(
        "SELECT partition_key, sorting_key, primary_key, engine FROM system.tables"
        " WHERE database = {d:String} AND name = {t:String}",
        parameters=name,
    ).result_rows
    return {"columns": columns, "keys": keys}


def on_one_server(text: str, database: str) -> str:
    """A statement of cluster.sql without what needs Keeper or other servers."""
    text = text.replace(" ON CLUSTER '{cluster}'", "").replace("sealwax.", f"{database}.")
    text = re.sub(r"Replicated(\w*MergeTree)\('[^']*', '[^']*'\)", r"\1()", text)
    text = re.sub(r" AS \S+\s+ENGINE = Distributed\('\{cluster\}', 'sealwax', '(\w+)', .*\)$",
                  rf" ENGINE = Alias('{database}', '\1')", text)  # fmt: skip
    return text.replace("DATABASE IF NOT EXISTS sealwax", f"DATABASE IF NOT EXISTS {database}")


@pytest.fixture
def clustered(stand_in: StandIn) -> Client:
    server = ClickHouseServer(stand_in.url.removesuffix("sealwax") + "clustered", TIMEOUT)
    server.connect(None).command("DROP DATABASE IF EXISTS clustered SYNC")
    client = server.connect(None, {"allow_experimental_alias_table_engine": 1})
    for statement in [*statements(CLUSTER), *statements(CLUSTER)]:  # each bears a second run
        if not statement.startswith("ALTER TABLE sealwax.events ON"):  # an alias follows its table
            client.command(on_one_server(statement, "clustered"))
    return server.client()


@pytest.mark.parametrize("table", ["events", "stats_hourly"])
def test_a_table_of_the_cluster_has_the_columns_and_keys_of_the_schema(client, clustered, table):
    assert shape(clustered, "clustered", f"{table}_local") == shape(client, "sealwax", table)


def test_every_table_of_the_schema_is_in_the_cluster(client, clustered):
    names = "SELECT name FROM system.tables WHERE database = {d:String}"
    of_schema, of_cluster = (
        {row[0] for row in client.query(names, parameters={"d": database}).result_rows}
        for database in ("sealwax", "clustered")
    )
    left_out = {"stats_hourly_tmp"}
    local = {f"{table}_local" for table in ("events", "stats_hourly")}
    assert of_cluster == (of_schema - left_out) | local


def test_which_cluster_it_is_is_read_from_the_table_of_events(client, clustered):
    assert cluster_of(client) == Cluster("", "sealwax")
    found = Cluster("{cluster}", "sealwax")
    assert (found.on, found.local("events")) == (
        " ON CLUSTER '{cluster}'",
        "sealwax.events_local",
    )


def test_on_a_cluster_missing_rows_are_stored_and_the_roll_up_is_set_right(
    clustered, tmp_path, monkeypatch
):
    """The statements of a cluster, on tables of its names; who runs them where is not shown."""

    class OneServer(Cluster):
        on = ""

        @override
        def catch_up(self, client: Client) -> None:
            pass

    for module in (repairing, roll_up):
        monkeypatch.setattr(module, "cluster_of", lambda _: OneServer("c", "clustered"))
    log = open_log(LogSettings(tmp_path / "log", 1))
    log.create_topics(topics.ALL)
    values = [Entry(0, None, event(n)) for n in range(200)]
    log.append_wait(topics.EVENTS, values)
    tp = TopicPartition(topics.EVENTS, 0)
    log.commit("analytics", {tp: Committed(0, "199")}, durable=True)
    bury = Burial(log, [tp])
    lines = [line_of(record, bury) for record in log.scan(tp, 0, 200)]
    insert(
        clustered,
        [line for i, line in enumerate(lines) if line and i % 3],
        bury,
        Patience(None, None),
    )
    clustered.command("TRUNCATE TABLE stats_hourly_local")
    repairing.repair(
        log, clustered, [tp], bury, Patience(None, None), followed(log, [tp], in_cluster=False)
    )
    log.close()
    count = "SELECT count(), uniqExact(_offset) FROM events"
    assert clustered.query(count).result_rows == [(200, 200)]
    rolled_up = "SELECT toUnixTimestamp(hour) AS h, toUInt64(sum(n)) FROM stats_hourly GROUP BY h ORDER BY h"
    base = (
        "SELECT toUnixTimestamp(toStartOfHour(at)) AS h, count() FROM events GROUP BY h ORDER BY h"
    )
    assert clustered.query(rolled_up).result_rows == clustered.query(base).result_rows


def event(number: int, **columns: Any) -> bytes:
    """A row of its own with something in most columns, in one of 30 hours."""
    at_ms = NOW_MS - number % 30 * 3_600_000
    row = {
        "tenant": f"t{number % 3}",
        "email_id": email_id(at_ms, random.Random(number).randbytes(10)),
        "at": iso(at_ms),
        "kind": ("rendered", "deferred", "delivered", "opened")[number % 4],
        "rcpt": f"ünï{number}@b.test",
        "rcpt_index": number,
        "tags": {"campaign": "spring"},
        "waits.cause": ["queue", "rate"],
        "waits.rule": ["", "site"],
        "waits.ms": [number, 7],
        "limits": {"connections": "20"},
        "in_doubt": number % 2 == 0,
        "code": 250,
        "rule": "general.mailbox_full",
        "rule_version": 1,
        "recipient_fate": "suppress after 3 in 14d",
        "path_fate": f"slow ip at site for {number}m",
        "elapsed_ms": number * 1_000,
    }
    return orjson.dumps({**row, **columns})


def records() -> list[Record]:
    """Events, delay records with short and long rows and with none, dead ones with and without."""
    found = [Record(topics.EVENTS, n % 4, n, None, event(n), (), 0) for n in range(200)]
    found.append(Record(topics.EVENTS, 0, 900, None, b"not json", (), 0))
    for n, size in enumerate((1, 200, 20_000, 70_000)):  # lengths of one to three bytes
        row = event(1_000 + n, kind="deferred", detail="x" * size)
        ((value,)) = encode_deliveries([(delivery(), row)])
        found.append(Record(topics.RETRY[n], 0, n, None, value, (), 0))
    ((empty,)) = encode_deliveries([(delivery(), b"")])
    found.append(Record(topics.RETRY[0], 1, 50, None, empty, (), 0))
    read = Record("email.ready.transactional", 0, 7, b"k", b"no delivery", (), 0)
    for n, row in enumerate((event(2_000, kind="failed"), b"")):
        entry = dead_entry(read, "bad", "it is bad", flow="dispatch", row=row)
        found.append(Record(topics.DEAD, 0, n, None, entry.value, tuple(entry.headers), 0))
    return [*found, *fenced()]


def fenced() -> list[Record]:
    """Of a partition with two owners, the second twice: outcomes, fences, and what came late."""
    old, new, other = Writer("dispatch", 7, 9), Writer("dispatch", 7, 10), Writer("render", 7, 9)
    fence = fence_entry(7, new)
    entries = [
        fence_entry(7, old),
        Entry(7, None, event(3_000), (old.header(),)),
        fence,
        Entry(7, None, event(4_000), (old.header(),)),
        Entry(7, None, event(3_001), (new.header(),)),
        Entry(7, None, event(3_002), (other.header(),)),
        Entry(7, None, event(3_003), (("writer", b"nobody"),)),
        fence_entry(7, old),  # late too
        Entry(7, None, event(4_001), (old.header(),)),
        # No fence: it has a key.
        Entry(7, b"k", b"", (Writer("dispatch", 7, 11).header("fence"),)),
        Entry(7, None, event(3_004), (new.header(),)),
    ]
    return [
        Record(topics.EVENTS, 7, n, e.key, e.value, e.headers, 0) for n, e in enumerate(entries)
    ]


@pytest.fixture
def by_kafka(client: Client, stand_in: StandIn) -> Client:
    """The Kafka engine's database; each record was delivered twice, and the platform stored it."""
    server = ClickHouseServer(stand_in.url.removesuffix("sealwax") + "sealwax_kafka", TIMEOUT)
    bare = server.connect(None)
    bare.command("DROP DATABASE IF EXISTS sealwax_kafka SYNC")
    for statement in statements(KAFKA):
        bare.command(QUEUE if "ENGINE = Kafka" in statement else statement)
    names = ["value", "_key", "_topic", "_partition", "_offset", "_headers.name", "_headers.value"]
    data = [
        [
            r.value or b"",
            r.key or b"",
            r.topic,
            r.partition,
            r.offset,
            [n for n, _ in r.headers],
            [v for _, v in r.headers],
        ]
        for r in records()
    ]
    for part in (data[:120], data, data[60:]):  # some came three times
        bare.insert("sealwax_kafka.queue", part, column_names=names)
    for table in ("events", "stats_hourly"):
        client.command(f"TRUNCATE TABLE {table}")
    fences = {
        TopicPartition(r.topic, r.partition): Fences(TopicPartition(*r[:2])) for r in records()
    }
    counted = [r for r in records() if fences[TopicPartition(*r[:2])].admits(r)]
    lines = [line for record in counted if (line := line_of(record, lambda *_: None))]
    insert(client, lines, lambda *_: None, Patience(None, None))
    return server.connect("sealwax_kafka")


def test_rows_by_the_kafka_engine_are_those_of_the_platform_each_once(client, by_kafka):
    assert by_kafka.query("SELECT count() FROM received").result_rows[0][0] > 206
    columns = client.query(
        "SELECT name FROM system.columns WHERE database = 'sealwax' AND table = 'events' ORDER BY name"
    ).result_rows
    listed = ", ".join(
        f"toString(`{name}`)" if name in ("kind", "stream") else f"`{name}`" for (name,) in columns
    )
    text = f"SELECT {listed} FROM events ORDER BY _topic, _partition, _offset"  # noqa: S608
    stored = client.query(text).result_rows
    assert len(stored) == 210
    assert by_kafka.query(text).result_rows == stored


def test_what_a_former_owner_wrote_behind_the_fence_of_the_next_is_no_row(by_kafka):
    text = "SELECT _offset FROM %s WHERE _partition = 7 ORDER BY _offset"
    offsets = [row[0] for row in by_kafka.query(text % "events").result_rows]
    assert offsets == [1, 4, 5, 6, 10]
    assert by_kafka.query("SELECT count() FROM fences FINAL").result_rows == [(3,)]


def test_a_query_of_one_email_reads_no_more_because_of_fences(by_kafka):
    plan = by_kafka.query(
        "EXPLAIN indexes = 1 SELECT * FROM events WHERE tenant = 't0' AND email_id = generateUUIDv4()"
    )
    assert "tenant in ['t0', 't0']" in "\n".join(row[0] for row in plan.result_rows)


def test_the_roll_up_of_the_kafka_engine_counts_no_record_twice_and_grows(client, by_kafka):
    text = (
        "SELECT tenant, hour, toString(stream), kind, toUInt64(sum(n)), uniqCombined64Merge(12)(emails)"
        " FROM stats_hourly GROUP BY ALL ORDER BY ALL"
    )
    stored = client.query(text).result_rows
    for _ in range(2):  # hours that are computed again do not add up
        by_kafka.command("SYSTEM REFRESH VIEW computed_mv")
        by_kafka.command("SYSTEM WAIT VIEW computed_mv")
    assert by_kafka.query(text).result_rows == stored
    assert sum(row[4] for row in stored) == 210


def test_the_queries_of_the_api_run_over_the_tables_of_the_kafka_engine(client, by_kafka):
    by_kafka.command("SYSTEM REFRESH VIEW computed_mv")
    by_kafka.command("SYSTEM WAIT VIEW computed_mv")
    one = orjson.loads(event(2))
    today = clock.now().date()
    params: dict[str, Any] = {
        "tenant": one["tenant"],
        "email_id": one["email_id"],
        "first": (today - timedelta(days=3)).isoformat(),
        "after": (today + timedelta(days=1)).isoformat(),
        "since": f"{today - timedelta(days=3)} 00:00:00.000",
        "unknown": "",  # whichever rule
        "most": 100,
    }
    for name, text in TEXTS.items():
        answers = [
            sorted(asked.raw_query(text, params, fmt="JSONEachRow").splitlines())
            for asked in (client, by_kafka)
        ]
        assert len(answers[0]) >= 1, name
        if name != "rows_of_email":  # its columns are in another order
            assert answers[0] == answers[1], name
        else:
            assert [orjson.loads(row)["rcpt"] for row in answers[1]] == [one["rcpt"]]


def test_all_topics_with_rows_are_read():
    listed = re.findall(r"kafka_topic_list = '([^']*)'", KAFKA)[0].split(",")
    assert sorted(listed) == sorted((topics.EVENTS, topics.DEAD, *topics.RETRY))
