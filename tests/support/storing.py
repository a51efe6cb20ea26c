"""Rows on their way into ClickHouse: records, a sink, and a client that breaks."""

import random
from collections.abc import Callable
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

from connectors.clickhouse.burial import Burial
from connectors.clickhouse.io import ClickHouseSink
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import followed
from connectors.log.port import Entry, Log, Record, TopicPartition
from connectors.records import iso
from sealwax import clock
from sealwax.model import topics
from sealwax.model.email_id import email_id

SOURCES = tuple(TopicPartition(topics.EVENTS, number) for number in range(2))


def event(number: int, **columns: Any) -> bytes:
    """A row of its own, in one of 30 hours."""
    at_ms = clock.now_ms() - number % 30 * 3_600_000
    ident = email_id(at_ms, random.Random(number).randbytes(10))
    row = {"tenant": "t", "email_id": ident, "at": iso(at_ms), "kind": "delivered"}
    return orjson.dumps({**row, **columns})


def appended(log: Log, values: list[bytes]) -> list[Record]:
    """Values in the partitions in turn; the records that they became."""
    log.append_wait(topics.EVENTS, [Entry(i % 2, None, value) for i, value in enumerate(values)])
    return [r for tp in SOURCES for r in log.scan(tp, 0, log.end_offset(tp))]


class Breaking:
    """A client whose inserts break some times, after a share of their rows was stored."""

    def __init__(self, client: Client, breaks: int, share: float) -> None:
        self._client = client
        self._breaks = breaks
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def raw_insert(self, table: str, *, insert_block: Any, **more: Any) -> None:
        if not self._breaks:
            self._client.raw_insert(table, insert_block=insert_block, **more)
            return
        self._breaks -= 1
        lines = b"".join(insert_block).split(b"\n")
        stored = lines[: int(len(lines) * self._share)]
        if stored:
            self._client.raw_insert(table, insert_block=b"\n".join(stored), **more)
        if self._share < 1:
            # As when the server dies between an insert and its view's.
            self._client.command("TRUNCATE TABLE stats_hourly")
        raise OperationalError("the connection broke")


def sink_over(
    log: Log,
    client: Callable[[], Any],
    stopped_within: Callable[[float], bool],
    sure: Callable[[], bool] = lambda: True,
) -> tuple[Any, Burial]:
    patience = Patience(None, None, stopped_within, sure)
    bury = Burial(log, SOURCES, patience.for_owner)
    return ClickHouseSink(
        log, client, bury, patience, followed(log, SOURCES, in_cluster=False)
    ).build("sink", 0, 1), bury


def never(_seconds: float) -> bool:
    return False


def held(client: Client) -> tuple[list[Any], int, int]:
    """The places of all rows, their number by the roll-up, and how many are there twice."""
    places = client.query("SELECT _partition, _offset FROM events ORDER BY ALL").result_rows
    rolled_up = client.query("SELECT toUInt64(sum(n)) FROM stats_hourly").result_rows[0][0]
    return list(places), rolled_up, len(places) - len(set(places))
