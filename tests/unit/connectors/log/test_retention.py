"""Retention: nothing goes that a group, or a start of one, may still read."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.log import LogSettings, open_log
from connectors.log.flow_spec import FlowSpec, read_back_group
from connectors.log.port import Committed, Entry, Log, Record, TopicPartition
from connectors.log.retention import Kept, Retention, bounds, first_since
from connectors.log.settle import source_header
from connectors.log.settling import Settling
from connectors.log.source import LogSource
from connectors.log.sqlite.segment import list_segments
from sealwax import clock
from sealwax.model import topics
from sealwax.model.delivery import Position
from tests.support.lifecycle import Running
from tests.support.waiting import wait_until

READY = topics.ready(topics.Stream.TRANSACTIONAL)
SOURCE = TopicPartition(READY, 0)
EVENTS = TopicPartition(topics.EVENTS, 0)
HOUR_MS = 3_600_000
VALUE = b"x" * 40_000
SPEC = FlowSpec("flow", {READY: 1}, lambda number: [TopicPartition(topics.EVENTS, number)])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", 2, segment_bytes=256 * 1024))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def fill(log: Log, count: int, tp: TopicPartition) -> None:
    for _ in range(count):
        log.append_wait(tp.topic, [Entry(tp.partition, b"k", VALUE)])


def commit(log: Log, group: str, tp: TopicPartition, offset: int) -> None:
    log.commit(group, {tp: Committed(offset)})


@pytest.mark.parametrize(
    ("committed", "expected"),
    [
        ({}, 0),
        ({"a": 7}, 0),
        ({"a": 7, "b": 5}, 0),
        ({"a": 7, "b": 5, read_back_group("f", 0): 3}, 0),
        ({"a": 7, "b": 5, read_back_group("f", 0): 3, read_back_group("w", 0): 4}, 0),
        (
            {"a": 7, "b": 5, **{read_back_group(f, n): 3 + n for f, n in
                                (("f", 0), ("w", 0), ("w", 1))}},
            3,
        ),
    ],
)  # fmt: skip
def test_the_bound_is_the_lowest_of_all_groups_and_none_may_be_missing(log, committed, expected):
    fill(log, 9, EVENTS)
    for group, offset in committed.items():
        commit(log, group, EVENTS, offset)
    kept = Kept(sources=("a", "b"), read_back=("f",), read_back_whole=("w",))
    assert bounds(log, {EVENTS: kept}) == {EVENTS: expected}


def test_segments_that_everybody_is_past_are_unlinked_and_the_rest_is_read_as_before(log, tmp_path):
    fill(log, 40, EVENTS)
    fill(log, 1, TopicPartition(topics.EVENTS, 1))
    before = len(list_segments(tmp_path / "log" / topics.EVENTS))
    retention = Retention(log, [0, 1], {topics.EVENTS: Kept(sources=("a",))}, bool, bool)
    for number, offset in ((0, 30), (1, 1)):
        commit(log, "a", TopicPartition(topics.EVENTS, number), offset)
    retention.run_once()
    assert log.start_offset(EVENTS) == 30
    assert [r.offset for r in log.scan(EVENTS, 0, 40)] == list(range(30, 40))
    assert len(list_segments(tmp_path / "log" / topics.EVENTS)) < before


class CutOff:
    """A log over another one, which remembers the positions that outlive a power cut."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.committed_now: dict[str, int] = {}
        self.durable: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def commit(self, group: str, positions: Any, *, durable: bool = True) -> None:
        self._log.commit(group, positions, durable=durable)
        if SOURCE in positions:
            self.committed_now[group] = positions[SOURCE].offset
        if durable:  # all that the file holds becomes it
            self.durable = dict(self.committed_now)


def test_no_group_stands_below_the_start_after_a_power_cut(log):
    """A position that the timer committed between the two is in memory only (R17)."""
    fill(log, 20, SOURCE)
    cut = CutOff(log)
    settling = Settling(cut, SPEC, [0], timer=False)
    settler = settling.settler(SOURCE)
    for offset in range(20):
        settler.hand_out(offset, 1)
    settler.settle(range(5))
    later = iter([range(5, 12)])

    def before() -> None:
        settling.commit_floors()
        settler.settle(next(later, ()))
        settling.commit_round()

    kept = {READY: Kept(sources=("flow",))}
    Retention(cut, [0], kept, bool, lambda: True, before).run_once()
    assert log.start_offset(SOURCE) == 12
    assert cut.durable["flow"] >= 12
    settling.close()


def test_what_is_younger_than_its_least_time_stays(log, monkeypatch):
    fill(log, 5, EVENTS)
    appended_ms = clock.now_ms()
    commit(log, "a", EVENTS, 5)
    retention = Retention(
        log, [0], {topics.EVENTS: Kept(sources=("a",), least_ms=HOUR_MS)}, bool, bool
    )
    retention.run_once()
    assert log.start_offset(EVENTS) == 0
    monkeypatch.setattr(clock, "now_ms", lambda: appended_ms + HOUR_MS + 1)
    retention.run_once()
    assert log.start_offset(EVENTS) == 5


@pytest.mark.parametrize("gives_way", [True, False])
def test_in_need_what_gives_way_goes_by_halves_before_its_time_and_nothing_else_does(
    log, gives_way
):
    fill(log, 20, EVENTS)
    commit(log, "a", EVENTS, 11)
    kept = Kept(("a",), least_ms=HOUR_MS, gives_way=gives_way)
    in_need = threading.Event()
    retention = Retention(log, [0], {topics.EVENTS: kept}, in_need.is_set, bool)
    starts = []
    for need in (False, True, True, True, True, True):
        (in_need.set if need else in_need.clear)()
        retention.run_once()
        starts.append(log.start_offset(EVENTS))
    assert starts == ([0, 6, 9, 10, 11, 11] if gives_way else [0] * 6)


def test_a_start_finds_all_that_it_reads_back_after_a_deletion(log):
    fill(log, 10, SOURCE)
    settling = Settling(log, SPEC, [0])
    source = LogSource(settling, Running(), one_outcome=True)
    partition = source.build_part("log", f"{READY}/0", None)
    handed_out = [item.record.offset for item in partition.next_batch()]
    partition.close()
    assert handed_out == list(range(10))
    fill(log, 5, EVENTS)  # of others, before the mark that counts
    headers = (("src", source_header(Position(READY, 0, 4))),)
    log.append_wait(topics.EVENTS, [Entry(0, b"k", VALUE, headers)])
    settling.settler(SOURCE).settle([0, 1, 2])
    settling.commit_floors()
    kept = {READY: Kept(("flow",)), topics.EVENTS: Kept(read_back=("flow",))}
    Retention(log, [0], kept, bool, bool).run_once()
    settling.close()
    assert log.start_offset(SOURCE) == 3
    again = Settling(log, SPEC, [0])
    partition = LogSource(again, Running(), one_outcome=True).build_part("log", f"{READY}/0", None)
    assert [item.record.offset for item in partition.next_batch()] == [3, *range(5, 10)]
    partition.close()
    again.close()


def test_what_is_named_stays_as_long_as_a_record_may_name_it(log, monkeypatch):
    body, dead = TopicPartition(topics.BODY, 0), TopicPartition(topics.DEAD, 1)
    fill(log, 3, body)
    fill(log, 1, dead)
    appended_ms = clock.now_ms()
    kept = {topics.BODY: Kept(named_by=topics.DEAD)}
    monkeypatch.setattr(clock, "now_ms", lambda: appended_ms + 90 * 24 * HOUR_MS)
    Retention(log, [0], kept, bool, bool).run_once()
    assert log.start_offset(body) == 0
    log.delete_before(dead, 1)
    Retention(log, [0], kept, bool, bool).run_once()
    assert log.start_offset(body) == 3


def test_in_need_a_round_comes_at_once(log):
    fill(log, 5, EVENTS)
    commit(log, "a", EVENTS, 5)
    retention = Retention(
        log, [0], {topics.EVENTS: Kept(sources=("a",))}, lambda: True, lambda: True
    )
    retention.start()
    wait_until(lambda: log.start_offset(EVENTS) == 5, 10, "a round")
    retention.close()


def test_while_the_clock_is_not_trusted_nothing_goes(log):
    fill(log, 5, EVENTS)
    commit(log, "a", EVENTS, 5)
    trusted = threading.Event()
    asked = threading.Event()

    def is_trusted() -> bool:
        asked.set()
        return trusted.is_set()

    kept = {topics.EVENTS: Kept(sources=("a",))}
    retention = Retention(log, [0], kept, lambda: True, is_trusted)
    retention.start()
    assert asked.wait(10)
    assert log.start_offset(EVENTS) == 0
    trusted.set()
    wait_until(lambda: log.start_offset(EVENTS) == 5, 10, "a round")
    retention.close()


@given(
    stamps=st.lists(st.integers(0, 50), max_size=30).map(sorted),
    since=st.integers(-1, 51),
    start=st.integers(0, 30),
    below=st.integers(0, 30),
)
def test_the_first_record_since_a_time_is_found(stamps, since, start, below):
    start = min(start, len(stamps))
    below = min(max(below, start), len(stamps))
    found = first_since(_Stamped(stamps, start), SOURCE, since, below)  # type: ignore[arg-type]  # what it asks
    assert found == next((n for n in range(start, below) if stamps[n] >= since), below)


class _Stamped:
    """A log of which only stamps matter."""

    offset_since = Log.offset_since

    def __init__(self, stamps: list[int], start: int) -> None:
        self._stamps = stamps
        self._start = start

    def start_offset(self, _: TopicPartition) -> int:
        return self._start

    def end_offset(self, _: TopicPartition) -> int:
        return len(self._stamps)

    def scan(self, tp: TopicPartition, start: int, end: int):
        for n in range(start, min(end, len(self._stamps))):
            yield Record(tp.topic, tp.partition, n, b"", b"", (), self._stamps[n])


def test_a_compacted_topic_is_compacted_at_once_and_the_last_of_each_key_stays(log):
    for value in (b"old", b"new"):
        log.append_wait(topics.CONTROL, [Entry(0, b"k", value)])
    retention = Retention(log, [0], {topics.CONTROL: Kept(compacted=True)}, bool, bool)
    control = TopicPartition(topics.CONTROL, 0)

    def held() -> list[bytes | None]:
        return [record.value for record in log.scan(control, 0, log.end_offset(control))]

    assert held() == [b"old", b"new"]
    retention.start()
    wait_until(lambda: held() == [b"new"], 10, "the compaction")
    retention.close()
