"""Offsets that a cluster forgot, and records that are gone before analytics read them (R4): nothing
is stored twice, and nothing skipped in silence."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from structlog.testing import capture_logs

from connectors.clickhouse import commits
from connectors.clickhouse import repair as repairing
from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.io import ClickHouseSink, EventsSource, Flush
from connectors.clickhouse.lost import stopped, why_rows_lost
from connectors.clickhouse.patience import Patience, StoppedWhileAwayError
from connectors.clickhouse.ranges import Range, followed, range_of
from connectors.clickhouse.rebuild import rebuild
from connectors.clickhouse.repair import repair
from connectors.log import KafkaSettings, LogSettings, open_log
from connectors.log.port import Committed, Entry, Log, Record, TopicPartition
from sealwax.model import topics
from sealwax.store.analytics.server import ClickHouseServer
from tests.support.kafka import namespace
from tests.support.lifecycle import Running
from tests.support.storing import SOURCES, event
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OURS, OTHER = SOURCES
PATIENCE = Patience(None, None)


@pytest.fixture
def client(server: ClickHouseServer) -> Client:
    return server.client()


@pytest.fixture(params=["sqlite", "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    settings: LogSettings | KafkaSettings = LogSettings(
        tmp_path / "log", len(SOURCES), segment_bytes=256 * 1024
    )
    if request.param == "kafka":
        kafka = request.getfixturevalue("kafka")
        settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=len(SOURCES))
    with closing(open_log(settings)) as log:
        log.create_topics(topics.ALL)
        yield log


def append(log: Log, count: int) -> None:
    """So many rows, in the partitions in turn."""
    log.append_wait(
        topics.EVENTS, [Entry(n % 2, None, event(n, detail="x" * 2_000)) for n in range(count)]
    )


def begin(log: Log, client: Client, *, in_cluster: bool = False) -> dict[TopicPartition, int]:
    """What a start of analytics does."""
    follows = followed(log, SOURCES, in_cluster=in_cluster)
    return repair(log, client, SOURCES, Burial(log, SOURCES), PATIENCE, follows)


def store(log: Log, client: Client, sure: bool = True) -> Any:
    """Stores all that the log has; the sink."""
    follows = followed(log, SOURCES, in_cluster=False)
    patience = Patience(None, None, sure=lambda: sure)
    sink = ClickHouseSink(log, lambda: client, Burial(log, SOURCES), patience, follows)
    made = sink.build("sink", 0, 1)
    records = [r for tp in SOURCES for r in log.scan(tp, log.start_offset(tp), log.end_offset(tp))]
    made.write_batch([*records])
    made.close()
    return made


def held(client: Client) -> tuple[int, int, int]:
    """How many rows there are, of how many records, and how many by the roll-up."""
    rows, records = client.query(
        "SELECT count(), uniqExact(_partition, _offset) FROM events"
    ).result_rows[0]
    rolled_up = client.query("SELECT toUInt64(sum(n)) FROM stats_hourly").result_rows[0][0]
    return rows, records, rolled_up


class Forgetful:
    """A log whose cluster has forgotten what a group had committed, and may break at a commit."""

    def __init__(self, log: Log, breaks_at: int = -1) -> None:
        self._log = log
        self._left = breaks_at
        self.positions: dict[TopicPartition, Committed] = {}
        self.commits: list[Mapping[TopicPartition, Committed]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def committed_all(self, _group: str, tps: Iterable[TopicPartition]) -> Any:
        return {tp: self.positions.get(tp) for tp in tps}

    def committed(self, _group: str, tp: TopicPartition) -> Committed | None:
        return self.positions.get(tp)

    def commit(self, _group: str, positions: Any, **_: bool) -> None:
        if not self._left:
            raise InterruptedError("killed")
        self._left -= 1
        self.positions |= positions
        self.commits.append(positions)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairing, "_RECORDS", 30)


@pytest.mark.usefixtures("small_parts")
def test_after_offsets_were_forgotten_what_clickhouse_has_is_not_stored_again(log, client):
    append(log, 200)
    store(log, client)
    client.command("DELETE FROM events WHERE _offset % 7 = 3")  # as an insert that was torn
    append(log, 20)
    forgetful: Any = Forgetful(log)
    assert begin(forgetful, client) == dict.fromkeys(SOURCES, 100)
    assert held(client) == (200, 200, 200)
    assert len(forgetful.commits) > 200 / 30
    assert {at.metadata for at in forgetful.positions.values()} == {""}


@pytest.mark.usefixtures("small_parts")
def test_a_start_that_dies_while_it_compares_is_gone_on_with(log, client):
    append(log, 200)
    store(log, client)
    client.command("DELETE FROM events WHERE _offset % 7 = 3")
    for breaks_at in range(1, 4):
        forgetful: Any = Forgetful(log, breaks_at)
        with pytest.raises(InterruptedError):
            begin(forgetful, client)
        again: Any = Forgetful(log)
        again.positions = forgetful.positions
        assert begin(again, client) == dict.fromkeys(SOURCES, 100)
        assert held(client) == (200, 200, 200)


def test_a_partition_that_lost_records_is_not_read_and_others_are(log, client):
    append(log, 600)
    log.delete_before(OURS, 250)
    first = log.start_offset(OURS)
    assert first > 10
    before = {OURS: Committed(10), OTHER: Committed(20)}
    log.commit(GROUP, before)
    with capture_logs() as said:
        assert begin(log, client) == {OTHER: 20}
    reason = f"records 10 to {first - 1} were deleted before they were read"
    (alert,) = [line for line in said if line["log_level"] == "critical"]
    assert (alert["tp"], alert["reason"]) == (OURS, reason)
    assert log.committed(GROUP, OURS) == before[OURS]
    assert stopped(log) == {OURS: reason}


def test_a_rebuild_lets_a_stopped_partition_go_on(log, client):
    append(log, 600)
    log.delete_before(OURS, 250)
    log.commit(GROUP, {OURS: Committed(10)})
    rebuild(log, client, SOURCES, 0, lambda _tp, _rows: None, PATIENCE, in_cluster=False)
    assert stopped(log) == {}
    assert begin(log, client) == dict.fromkeys(SOURCES, 300)
    there = 300 + 300 - log.start_offset(OURS)
    assert held(client) == (there, there, there)


def test_a_rebuild_that_is_not_alone_any_more_stores_and_commits_nothing_more(log, client):
    append(log, 60)
    theirs = dict.fromkeys(SOURCES, Committed(30))
    for times in range(3):
        log.commit(GROUP, theirs)
        sure = iter([True] * times)
        patience = Patience(None, None, sure=partial(next, sure, False))
        with pytest.raises(StoppedWhileAwayError):
            rebuild(log, client, SOURCES, 0, lambda _tp, _rows: None, patience, in_cluster=False)
        assert held(client)[0] == 0


def test_where_nothing_is_committed_the_rows_in_clickhouse_say_whether_something_is_lost(
    log, client
):
    append(log, 600)
    store(log, client)
    log.delete_before(OURS, 250)
    first = log.start_offset(OURS)
    forgetful: Any = Forgetful(log)
    assert "a start looks in ClickHouse" in stopped(forgetful)[OURS]
    assert begin(forgetful, client) == dict.fromkeys(SOURCES, 300)
    assert held(client) == (600, 600, 600)
    client.command(
        "DELETE FROM events WHERE _partition = 0 AND _offset >= {first:UInt64} - 1",
        parameters={"first": first},
    )
    assert begin(Forgetful(log), client) == {OTHER: 300}  # type: ignore[arg-type]


def test_a_topic_that_was_made_anew_is_not_read(log, client):
    append(log, 20)
    begin(log, client, in_cluster=True)
    here = range_of(log.committed(GROUP, OURS) or Committed(0))
    assert here.life
    log.commit(GROUP, {OURS: here._replace(life=b"8 bytes.").committed()})
    assert begin(log, client, in_cluster=True) == {OTHER: 0}
    assert stopped(log) == {OURS: "its topic was deleted and made again"}


def test_a_partition_that_ends_below_what_was_stored_was_cut_or_made_anew():
    assert "made anew" in why_rows_lost(None, b"", 70, 0, 50)
    assert "made anew" in why_rows_lost(Range(70, None), b"", None, 0, 50)
    assert why_rows_lost(None, b"", 49, 0, 50) == ""
    assert why_rows_lost(None, b"", None, 0, 50) == ""


def test_records_that_go_while_analytics_runs_stop_their_partition_alone(log):
    append(log, 600)
    log.delete_before(OURS, 250)
    source = EventsSource(log, dict.fromkeys(SOURCES, 10), Running())
    ours, other = (source.build_part("events", name, None) for name in source.list_parts())
    read: list[Record] = []

    def all_read() -> bool:
        read.extend(item for item in other.next_batch() if isinstance(item, Record))
        assert ours.next_batch() == []
        return len(read) == 290

    with capture_logs() as said:
        wait_until(all_read, 30, "the records of the other partition")
        wait_until(lambda: ours.next_batch() or said, 30, "the alert")
    (alert,) = [line for line in said if line["log_level"] == "critical"]
    assert "were deleted before they were read" in alert["reason"]
    ours.close()
    other.close()


@pytest.mark.parametrize("sure", [True, False])
def test_what_is_committed_is_renewed_so_that_a_cluster_does_not_forget_it(
    tmp_path, client, monkeypatch, sure
):
    with closing(open_log(LogSettings(tmp_path / "log", len(SOURCES)))) as log:
        log.create_topics(topics.ALL)
        forgetful: Any = Forgetful(log)
        forgetful.positions = {OURS: Committed(7, "9"), OTHER: Committed(3)}
        sink = store(forgetful, client, sure)
        assert forgetful.commits == []
        monkeypatch.setattr(commits, "_RENEW_EVERY_S", 0)
        sink.write_batch([Flush()])
        assert forgetful.commits == ([forgetful.positions] if sure else [])
