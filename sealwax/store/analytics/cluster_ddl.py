"""deploy/clickhouse/cluster.sql, made from the schema: `make docs` writes it, a test holds it.

A table of the schema becomes `<table>_local` on every shard, replicated, and a Distributed table of
its own name over these. So inserts, queries and the API name the same tables as on one server.
"""

import re
from collections.abc import Iterator

from sealwax.store.analytics.cluster import LOCAL
from sealwax.store.analytics.migrations import VERSIONS, schema

_HEAD = """\
-- The tables of sealwax on a ClickHouse cluster, replicated and sharded.
--
-- Made from sealwax/store/analytics/schema by `make docs`. The first time run all of it. Before a
-- new version of sealwax, which refuses tables that lack something, run what stands below the last
-- name that schema_version has.
--
--   clickhouse-client --queries-file deploy/clickhouse/cluster.sql
--
-- Each node needs the macros {cluster}, {shard} and {replica}, a cluster of the name {cluster} in
-- remote_servers with internal_replication, and Keeper. Another database than `sealwax` is put in
-- its place here. CLICKHOUSE_URL names one node, or a balancer before all of them.
--
-- The rows of an email are on one shard, by its id: a timeline is whole on it. The roll-up is on
-- the shard of the events that it counts, and replicated with them.

CREATE DATABASE IF NOT EXISTS sealwax ON CLUSTER '{cluster}' ENGINE = Atomic;
"""
_ON = " ON CLUSTER '{cluster}'"
_SHARDED_BY = {"events": "cityHash64(email_id)", "stats_hourly": "rand()"}
_PER_SHARD = "'/clickhouse/tables/{cluster}/{shard}/{database}/{table}', '{replica}'"
# Every node has all rows of this one.
_EVERYWHERE = "'/clickhouse/tables/{cluster}/all/{database}/{table}', '{shard}-{replica}'"
_APPLIED = """\
-- With this, {name} is there.
INSERT INTO sealwax.schema_version (version, name) SELECT {version}, '{name}'
WHERE {version} NOT IN (SELECT version FROM sealwax.schema_version)"""
_COPY = re.compile(r"CREATE TABLE IF NOT EXISTS \w+ AS ")
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(")
_VIEW = re.compile(
    r"(CREATE MATERIALIZED VIEW IF NOT EXISTS) (\w+) TO (\w+)(.*)FROM (\w+)", re.DOTALL
)
_ALTER = re.compile(r"ALTER TABLE (\w+) ")
_ENGINE = re.compile(r"ENGINE = (\w*MergeTree)")


def cluster_ddl() -> str:
    """The whole file."""
    versions = _replicated(VERSIONS.replace("schema_version", f"sealwax.schema_version{_ON}", 1))
    statements = [versions.replace(_PER_SHARD, _EVERYWHERE)]
    for version, name, texts in schema():
        statements += [made for text in texts for made in _on_cluster(text)]
        statements.append(_APPLIED.format(version=version, name=name))
    return _HEAD + "".join(f"\n{statement};\n" for statement in statements)


def _on_cluster(text: str) -> Iterator[str]:
    """What a statement of the schema is on a cluster."""
    if _COPY.match(text):
        return  # for the swap of a partition, which is not done on a cluster
    if table := _TABLE.match(text):
        name = f"sealwax.{table[1]}"
        yield _replicated(_TABLE.sub(f"CREATE TABLE IF NOT EXISTS {name}{LOCAL}{_ON} (", text))
        yield (
            f"CREATE TABLE IF NOT EXISTS {name}{_ON} AS {name}{LOCAL}\n"
            f"ENGINE = Distributed('{{cluster}}', 'sealwax', '{table[1]}{LOCAL}', "
            f"{_SHARDED_BY[table[1]]})"
        )
    elif view := _VIEW.match(text):
        create, name, into, middle, source = view.groups()
        yield (
            f"{create} sealwax.{name}{_ON} TO sealwax.{into}{LOCAL}{middle}"
            f"FROM sealwax.{source}{LOCAL}{text[view.end() :]}"
        )
    elif alter := _ALTER.match(text):
        for suffix in (LOCAL, ""):
            yield _ALTER.sub(f"ALTER TABLE sealwax.{alter[1]}{suffix}{_ON} ", text)
    else:
        raise ValueError(f"no form of this on a cluster is known: {text}")


def _replicated(text: str) -> str:
    return _ENGINE.sub(rf"ENGINE = Replicated\1({_PER_SHARD})", text)


if __name__ == "__main__":
    print(cluster_ddl(), end="")  # noqa: T201 - this is what the command is for
