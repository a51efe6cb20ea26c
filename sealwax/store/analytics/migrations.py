"""The schema of a ClickHouse database: numbered files, each applied once."""

import importlib.resources
import re
from collections.abc import Iterator

from clickhouse_connect.driver.client import Client

from sealwax.errors import ConfigurationError
from sealwax.store.analytics.cluster import cluster_of

_SCHEMA = importlib.resources.files("sealwax.store.analytics") / "schema"

VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_version (version UInt32, name String,"
    " applied_at DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY version"
)


def schema() -> Iterator[tuple[int, str, list[str]]]:
    """Version, name and statements of every file, in order."""
    for file in sorted(_SCHEMA.iterdir(), key=lambda file: file.name):
        statements = re.split(r";\s*\n", file.read_text())
        version = int(file.name.partition("_")[0])
        yield version, file.name, [text.strip() for text in statements if text.strip()]


def migrate(client: Client) -> None:
    """Applies the files that the client's database lacks, one statement a call.

    DDL is no transaction: each statement bears a second run, and a file counts only when its row
    in schema_version stands.

    Raises:
        ConfigurationError: The database is a cluster's, which is brought up to date by hand.
    """
    client.command(VERSIONS)
    rows = client.query("SELECT version FROM schema_version").result_rows
    applied = {row[0] for row in rows}
    for version, name, statements in schema():
        if version in applied:
            continue
        if cluster_of(client).name:
            raise ConfigurationError(
                f"the tables of the cluster lack {name}: run deploy/clickhouse/cluster.sql"
            )
        for statement in statements:
            client.command(statement)
        client.insert("schema_version", [[version, name]], column_names=["version", "name"])
