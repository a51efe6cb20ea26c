"""A server of ClickHouse for the tests of what writes to one."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from sealwax.store.analytics.server import ClickHouseServer
from tests.support.clickhouse_http import StandIn, running_clickhouse


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with running_clickhouse(tmp_path_factory.mktemp("server") / "clickhouse") as running:
        yield running


@pytest.fixture
def server(stand_in: StandIn) -> ClickHouseServer:
    """Its database, with empty tables."""
    server = ClickHouseServer(stand_in.url, timedelta(seconds=30))
    client = server.client()
    for table in ("events", "stats_hourly"):
        client.command(f"TRUNCATE TABLE {table}")
    return server
