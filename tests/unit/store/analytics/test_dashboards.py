"""deploy/grafana: each query of ClickHouse runs over the schema, and finds what is there."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from connectors.records import iso
from sealwax import clock
from sealwax.model.email_id import email_id
from sealwax.store.analytics.server import ClickHouseServer
from tests.support.clickhouse_http import running_clickhouse

pytestmark = pytest.mark.slow

GRAFANA = Path(__file__).parents[4] / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
# What Grafana and its ClickHouse plugin put in the place of their macros and variables.
MACROS = (
    (r"\$__timeFilter\(([^)]*)\)", r"\1 >= now() - INTERVAL 1 DAY AND \1 <= now()"),
    (r"\$\{tenant:singlequote\}", "'t', 'u'"),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Over a database where something of everything happened some minutes ago."""
    now_ms = clock.now_ms() - 300_000
    happened: list[tuple[str, dict[str, Any]]] = [
        ("rendered", {}),
        ("deferred", {"code": 451, "site": "s", "waits.cause": ["rate"], "waits.ms": [9_000]}),
        ("delivered", {"code": 250, "site": "s", "elapsed_ms": 9_500}),
        ("bounced", {"code": 550, "status": "5.1.1", "reply": "no such user", "site": "s"}),
        ("deferred", {"in_doubt": True, "site": "s"}),
    ]
    rows = [
        {
            "tenant": "t",
            "email_id": email_id(now_ms, bytes(9) + bytes([number])),
            "at": iso(now_ms + number),
            "kind": kind,
            "waits.rule": [""] * len(columns.get("waits.cause", [])),
            "_topic": "email.events",
            **columns,
        }
        for number, (kind, columns) in enumerate(happened)
    ]
    with running_clickhouse(tmp_path_factory.mktemp("dashboards") / "clickhouse") as stand_in:
        client = ClickHouseServer(stand_in.url, timedelta(minutes=1)).client()
        client.raw_insert(
            "events",
            insert_block=b"\n".join(map(orjson.dumps, rows)),
            fmt="JSONEachRow",
            settings={"date_time_input_format": "best_effort"},
        )
        yield client


def queries(dashboard: Path) -> list[tuple[str, str]]:
    """Title and text of each query of ClickHouse, of the variables too."""
    read = json.loads(dashboard.read_text())
    found = [
        (panel["title"], target["rawSql"])
        for panel in read["panels"]
        for target in panel["targets"]
        if target["datasource"]["uid"] == "clickhouse"
    ]
    return [*found, *((v["name"], v["query"]) for v in read["templating"]["list"])]


def as_grafana_sends_it(text: str) -> str:
    for macro, meaning in MACROS:
        text = re.sub(macro, meaning, text)
    assert "$" not in text, "a macro that this test does not know"
    return text


@pytest.mark.parametrize(
    ("title", "text"),
    [query for dashboard in DASHBOARDS for query in queries(dashboard)],
    ids=lambda value: value if len(str(value)) < 40 else "",
)
def test_each_query_of_clickhouse_finds_what_happened(client, title, text):
    rows = client.query(as_grafana_sends_it(text)).result_rows
    assert rows, title
    assert all(value not in (None, "") for value in rows[0][:2]), rows[0]


def test_a_query_of_a_column_that_is_not_there_is_seen(client):
    with pytest.raises(DatabaseError, match="UNKNOWN_IDENTIFIER"):
        client.query(as_grafana_sends_it("SELECT no_column FROM events WHERE $__timeFilter(at)"))


def test_every_panel_asks_a_data_source_that_is_provisioned():
    provisioned = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "datasources.yml").read_text()
    )
    known = {(source["type"], source["uid"]) for source in provisioned["datasources"]}

    def sources(value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict):
            if "datasource" in value:
                yield value["datasource"]["type"], value["datasource"]["uid"]
            value = list(value.values())
        if isinstance(value, list):
            for part in value:
                yield from sources(part)

    for dashboard in DASHBOARDS:
        assert set(sources(json.loads(dashboard.read_text()))) <= known
