"""Programs over a log and a ClickHouse directory, each in a process of its own.

One process opens one ClickHouse directory in its life, and only one process at a time, so every
test that needs a directory of its own, or a kill, runs one of these. What a program finds out it
says on standard output, as JSON.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import structlog
from bytewax.testing import cluster_main
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.io import ClickHouseSink, EventsSource, Flush, FlushSource
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import followed
from connectors.clickhouse.rebuild import rebuild
from connectors.clickhouse.repair import repair
from connectors.clickhouse.rows import line_of
from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Log, TopicPartition
from flows.analytics import Ports, build
from sealwax import clock
from sealwax.model import topics
from sealwax.store.analytics.embedded import EmbeddedClickHouse

ROOT = Path(__file__).parents[2]
TIMEOUT = timedelta(minutes=1)
PATIENCE = Patience(TIMEOUT, TIMEOUT)
PARTITIONS = 2
TOPICS = (topics.EVENTS, topics.RETRY[0], topics.DEAD)
SOURCES = tuple(TopicPartition(topic, n) for topic in TOPICS for n in range(PARTITIONS))


def open_test_log(directory: Path) -> Log:
    log = open_log(LogSettings(directory / "log", PARTITIONS))
    log.create_topics(topics.ALL)
    return log


class Stored:
    """The log and the ClickHouse directory of a test."""

    def __init__(self, directory: Path) -> None:
        self.log = open_test_log(directory)
        self.clickhouse = EmbeddedClickHouse(directory / "clickhouse")
        self.client = self.clickhouse.client()
        self.bury = Burial(self.log, SOURCES)
        self.followed = followed(self.log, SOURCES, in_cluster=False)

    def repair(self) -> dict[TopicPartition, int]:
        return repair(self.log, self.client, SOURCES, self.bury, PATIENCE, self.followed)

    def value(self, query: str) -> Any:
        return self.client.query(query).result_rows[0][0]

    def report(self) -> dict[str, Any]:
        """What is stored, and what the roll-up holds of it."""
        places = "SELECT _topic, _partition, _offset FROM sealwax.events ORDER BY ALL"
        base = (
            "SELECT toString(kind), toUnixTimestamp(toStartOfHour(at)), count(),"
            " uniqCombined64If(12)(email_id, kind IN ('opened', 'clicked'))"
            " FROM sealwax.events GROUP BY ALL ORDER BY 1, 2"
        )
        roll_up = (
            "SELECT toString(kind), toUnixTimestamp(hour), toUInt64(sum(n)),"
            " uniqCombined64Merge(12)(emails) FROM sealwax.stats_hourly GROUP BY ALL ORDER BY 1, 2"
        )
        dead = [
            dict(record.headers)["reason"].decode()
            for n in range(PARTITIONS)
            for record in self.log.scan(TopicPartition(topics.DEAD, n), 0, 1 << 40)
        ]
        return {
            "places": [list(row) for row in self.client.query(places).result_rows],
            "base": [list(row) for row in self.client.query(base).result_rows],
            "roll_up": [list(row) for row in self.client.query(roll_up).result_rows],
            "dead": dead,
        }


class _Process:
    """Lives until every record that was there at its start has been read and flushed."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._ends = {tp: log.end_offset(tp) for tp in SOURCES}
        self._asked_at: float | None = None

    def running(self) -> None:
        pass

    def draining(self) -> bool:
        if self._asked_at is None and all(map(self._is_read, SOURCES)):
            self._asked_at = clock.monotonic()
        return self._asked_at is not None

    def _is_read(self, tp: TopicPartition) -> bool:
        committed = self._log.committed(GROUP, tp) or Committed(0)
        reached = int(committed.metadata) + 1 if committed.metadata else committed.offset
        return reached >= self._ends[tp]

    def quiet(self, seconds: float) -> bool:
        return self._asked_at is not None and clock.monotonic() - self._asked_at >= seconds


class _DyingLog:
    """Commits, and ends the process so many seconds later, as suddenly as kill -9 does.

    Where they are below zero, the process ends before it commits.
    """

    def __init__(self, log: Log, seconds: float) -> None:
        self._log = log
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def commit(self, *args: Any, **kwargs: Any) -> None:
        if self._seconds < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._log.commit(*args, **kwargs)
        # The system ends a process whose alarm nobody handles: no Python runs any more.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)


def consume(directory: Path, workers: str, dies_after_s: str = "") -> None:
    """Everything of the log into ClickHouse, as the flow does it; then says what is stored."""
    stored = Stored(directory)
    positions = stored.repair()
    log: Any = _DyingLog(stored.log, float(dies_after_s)) if dies_after_s else stored.log
    process = _Process(stored.log)
    ports = Ports(
        EventsSource(stored.log, positions, process),
        FlushSource(process),
        ClickHouseSink(log, stored.clickhouse.client, stored.bury, PATIENCE, stored.followed),
    )
    cluster_main(build(ports), [], 0, worker_count_per_proc=int(workers))
    _say(stored.report())


def tear_and_repair(directory: Path) -> None:
    """Stores a range as a crash can leave it, repairs it twice, and says what is stored.

    Of the first event partition every third row is missing, and the roll-up knows of none.
    """
    stored = Stored(directory)
    tp = SOURCES[0]
    end = stored.log.end_offset(tp)
    stored.log.commit(GROUP, {tp: Committed(0, str(end - 1))}, durable=True)
    lines = [line_of(record, stored.bury) for record in stored.log.scan(tp, 0, end)]
    block = b"\n".join(line.json for i, line in enumerate(lines) if line and i % 3)
    stored.client.raw_insert(
        "sealwax.events",
        insert_block=block,
        fmt="JSONEachRow",
        settings={"date_time_input_format": "best_effort"},
    )
    stored.client.command("TRUNCATE TABLE sealwax.stats_hourly")
    positions = [stored.repair()[tp] for _ in range(2)]
    _say({**stored.report(), "positions": positions, "end": end})


def rebuild_twice(directory: Path, since_ms: str) -> None:
    """Loses some rows and keeps others twice, refills from the log since a time, and once more."""
    stored = Stored(directory)
    stored.client.command(
        "ALTER TABLE sealwax.events DELETE WHERE _offset % 3 = 0", settings={"mutations_sync": 2}
    )
    stored.client.command("INSERT INTO sealwax.events SELECT * FROM sealwax.events LIMIT 10")
    steps: list[int] = []
    total = 0
    for _ in range(2):
        total = rebuild(
            stored.log,
            stored.client,
            SOURCES,
            int(since_ms),
            lambda _, rows: steps.append(rows),
            PATIENCE,
            in_cluster=False,
        )
    positions = stored.repair()
    lag = sum(stored.log.end_offset(tp) - at for tp, at in positions.items())
    _say({**stored.report(), "total": total, "steps": sum(steps), "lag": lag})


def die_in_a_rebuild(directory: Path, dies_after_s: str) -> None:
    """Refills, and is killed some time after a range was committed."""
    stored = Stored(directory)
    log: Any = _DyingLog(stored.log, float(dies_after_s))
    rebuild(log, stored.client, SOURCES, 0, lambda _tp, _rows: None, PATIENCE, in_cluster=False)
    _say("alive")


def fail_once(directory: Path) -> None:
    """An insert that fails after it stored its rows; Bytewax then closes the sink."""
    stored = Stored(directory)

    class Failing:
        database = "sealwax"

        def raw_insert(self, *args: Any, **kwargs: Any) -> None:
            stored.client.raw_insert(*args, **kwargs)
            raise DatabaseError("Code: 241. DB::Exception: memory limit exceeded")

    def client() -> Client:
        return Failing()  # type: ignore[return-value]  # one method of it is all that is used

    sink = ClickHouseSink(stored.log, client, stored.bury, PATIENCE, stored.followed).build(
        "sink", 0, 1
    )
    records = list(stored.log.scan(SOURCES[0], 0, stored.log.end_offset(SOURCES[0])))
    try:
        sink.write_batch([*records, Flush()])
    except DatabaseError:
        sink.close()
        _say({**stored.report(), "records": len(records)})


def store_and_rest(directory: Path) -> None:
    """Stores all there is of the first partition; says the lag before and after a quiet moment."""
    stored = Stored(directory)
    tp = SOURCES[0]
    sink = ClickHouseSink(
        stored.log, stored.clickhouse.client, stored.bury, PATIENCE, stored.followed
    ).build("sink", 0, 1)
    sink.write_batch([*stored.log.scan(tp, 0, stored.log.end_offset(tp)), Flush()])
    busy = stored.log.lag(GROUP, tp)
    sink.write_batch([Flush()])
    _say({"busy": busy, "at_rest": stored.log.lag(GROUP, tp)})


def count_rows(directory: Path) -> None:
    """Says how many rows are stored, and of how many emails."""
    client = EmbeddedClickHouse(directory / "clickhouse").client()
    query = "SELECT count(), uniqExact(email_id) FROM sealwax.events"
    rows, emails = client.query(query).result_rows[0]
    _say({"rows": rows, "emails": emails})


def _say(what: object) -> None:
    sys.stdout.write(orjson.dumps(what).decode() + "\n")
    sys.stdout.flush()


def command(program: str, directory: Path, *args: str) -> Sequence[str]:
    return [sys.executable, "-m", "tests.support.analytics_process", program, str(directory), *args]


def said(program: str, directory: Path, *args: str) -> Any:
    """What a program says, once it has ended well."""
    run = subprocess.run(
        command(program, directory, *args), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    program, directory, *args = sys.argv[1:]
    globals()[program](Path(directory), *args)


if __name__ == "__main__":
    main()
