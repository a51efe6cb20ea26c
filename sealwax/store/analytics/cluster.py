"""Whether a database is spread over a cluster, as deploy/clickhouse/cluster.sql makes it."""

import re
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

# Rows of `events` are in `events_local` of each shard, and so for every table that holds rows.
LOCAL = "_local"
_ENGINE = """
SELECT any(engine_full) FROM system.tables
WHERE database = currentDatabase() AND name = 'events' AND engine = 'Distributed'
"""
_NAME = re.compile(r"Distributed\('((?:[^'\\]|\\.)+)'")
# Waits for every replica that lives, and for no other one.
_ACTIVE = {"distributed_ddl_output_mode": "null_status_on_timeout_only_active"}


class Cluster(NamedTuple):
    """The cluster of a database.

    Attributes:
        name: Of the cluster, as it stands in SQL; empty where one server has all.
        database: Its database. Named in each statement: other nodes have a default of their own.
    """

    name: str
    database: str

    @property
    def on(self) -> str:
        """What makes a statement run on all of it."""
        return f" ON CLUSTER '{self.name}'" if self.name else ""

    def local(self, table: str) -> str:
        """The table that holds the rows of `table`."""
        return f"{self.database}.{table}{LOCAL}" if self.name else table

    def catch_up(self, client: Client) -> None:
        """Waits until every replica has what another one took; else it could be taken for lost."""
        if self.name:
            for table in ("events", "stats_hourly"):
                client.command(
                    f"SYSTEM SYNC REPLICA{self.on} {self.local(table)}", settings=_ACTIVE
                )


def cluster_of(client: Client) -> Cluster:
    """The cluster of the client's database."""
    found = _NAME.match(str(client.query(_ENGINE).result_rows[0][0]))
    return Cluster(found[1] if found else "", str(client.database))
