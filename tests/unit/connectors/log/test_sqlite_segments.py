"""Segments of the embedded log: rolling, write-ahead logs, compaction, what a crash leaves."""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, Log, TopicPartition
from connectors.log.sqlite.files import locked
from connectors.log.sqlite.segment import list_segments
from connectors.log.sqlite.shelf import Shelf
from connectors.log.sqlite.topic import TopicFolder
from sealwax.errors import ConfigurationError
from sealwax.model.topics import TopicSpec
from tests.support.log_reading import Acknowledged, everything, read_until

TOPIC = "orders"
COMPACTED = "settings"
TP = TopicPartition(TOPIC, 1)
MB = 1024 * 1024


def open_small(directory: Path, segment_bytes: int = 256 * 1024) -> Log:
    log = open_log(LogSettings(directory, segment_bytes=segment_bytes))
    log.create_topics([TopicSpec(TOPIC), TopicSpec(COMPACTED, compacted=True)])
    return log


TIMEOUT = timedelta(seconds=5)


@pytest.fixture
def log(tmp_path):
    made = open_small(tmp_path)
    yield made
    made.close()


def fill(log: Log, count: int, size: int, topic: str = TOPIC) -> None:
    for first in range(0, count, 10):
        entries = [Entry(1, b"%d" % (n % 7), b"x" * size) for n in range(first, first + 10)]
        log.append_wait(topic, entries)


def wal_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*-wal"))


def test_segments_roll_while_readers_follow(log, tmp_path):
    seen: dict[int, list[int]] = {}

    def follow(number: int) -> None:
        reader = log.reader(TP, 0)
        seen[number] = [record.offset for record in read_until(reader, 1_000)]

    readers = [threading.Thread(target=follow, args=(n,)) for n in range(4)]
    for thread in readers:
        thread.start()
    fill(log, 1_000, 3_000)
    for thread in readers:
        thread.join()
    assert seen == {n: list(range(1_000)) for n in range(4)}
    assert len(list_segments(tmp_path / TOPIC)) > 8


def test_a_sealed_segment_keeps_no_write_ahead_log(log, tmp_path):
    fill(log, 500, 3_000)
    log.close()
    assert wal_bytes(tmp_path / TOPIC) == 0


def test_one_process_rolls_and_another_goes_on(log, tmp_path):
    other = open_small(tmp_path)
    for _ in range(10):
        fill(log, 50, 3_000)
        fill(other, 50, 3_000)
    assert [r.offset for r in everything(log, TP)] == list(range(1_000))
    assert [r.offset for r in everything(other, TP)] == list(range(1_000))
    other.close()


@pytest.mark.slow
def test_the_write_ahead_log_stays_within_its_bound(tmp_path):
    log = open_small(tmp_path, segment_bytes=1024 * MB)
    sizes = []
    for _ in range(15):
        log.append_wait(TOPIC, [Entry(1, b"k", bytes(MB)) for _ in range(10)])
        sizes.append(wal_bytes(tmp_path / TOPIC))
    log.close()
    assert max(sizes) <= 64 * MB


@pytest.mark.slow
def test_many_small_appends_do_not_let_the_write_ahead_log_grow(tmp_path):
    log = open_small(tmp_path, segment_bytes=1024 * MB)
    for n in range(5_000):
        log.append_wait(TOPIC, [Entry(n % 4, b"k", b"small")])
    assert wal_bytes(tmp_path / TOPIC) <= 64 * MB
    log.close()


@pytest.mark.slow
def test_a_write_ahead_log_that_a_reader_pinned_is_emptied_after_it(tmp_path):
    log = open_small(tmp_path, segment_bytes=1024 * MB)
    log.append_wait(TOPIC, [Entry(1, b"k", b"v")])
    (name,) = list_segments(tmp_path / TOPIC)
    pinned = sqlite3.connect(tmp_path / TOPIC / name.file, isolation_level=None)
    pinned.execute("BEGIN")
    pinned.execute("SELECT count(*) FROM chunk").fetchone()
    for _ in range(10):
        log.append_wait(TOPIC, [Entry(1, b"k", bytes(MB)) for _ in range(10)])
    assert wal_bytes(tmp_path / TOPIC) > 64 * MB
    pinned.execute("COMMIT")
    for _ in range(4):
        log.append_wait(TOPIC, [Entry(1, b"k", bytes(MB)) for _ in range(10)])
    assert wal_bytes(tmp_path / TOPIC) <= 64 * MB
    pinned.close()
    assert len(everything(log, TP)) == 141
    log.close()


def test_deletion_unlinks_segments_once_every_partition_is_past_them(log, tmp_path):
    for _ in range(40):
        log.append_wait(TOPIC, [Entry(n, b"k", b"x" * 10_000) for n in range(4)])
    before = len(list_segments(tmp_path / TOPIC))
    for partition in range(3):
        log.delete_before(TopicPartition(TOPIC, partition), 40)
    assert len(list_segments(tmp_path / TOPIC)) >= before
    log.delete_before(TopicPartition(TOPIC, 3), 40)
    assert len(list_segments(tmp_path / TOPIC)) == 1
    assert [log.start_offset(TopicPartition(TOPIC, n)) for n in range(4)] == [40] * 4


def test_a_raised_start_is_seen_by_other_processes_and_after_reopening(log, tmp_path):
    fill(log, 100, 10)
    other = open_small(tmp_path)
    log.delete_before(TP, 60)
    assert everything(other, TP)[0].offset == 60
    other.close()
    log.close()
    again = open_small(tmp_path)
    assert again.start_offset(TP) == 60
    again.close()


def test_compaction_merges_segments_and_gives_their_room_back(log, tmp_path):
    fill(log, 1_000, 3_000, COMPACTED)
    folder = tmp_path / COMPACTED
    assert len(list_segments(folder)) > 8
    for _ in range(4):
        log.compact(COMPACTED)
    assert len(list_segments(folder)) <= 3
    assert sum(path.stat().st_size for path in folder.glob("*.seg")) < MB
    records = everything(log, TopicPartition(COMPACTED, 1))
    assert [r.offset for r in records] == list(range(993, 1_000))


def test_who_stood_on_a_segment_that_was_merged_goes_on_in_the_merged_one(log, tmp_path):
    fill(log, 400, 3_000, COMPACTED)
    fill(log, 400, 3_000, COMPACTED)
    shelf = Shelf(TopicFolder(tmp_path, COMPACTED, TIMEOUT))
    oldest = shelf.holding(1, 0)
    for _ in range(3):
        log.compact(COMPACTED)
    following = shelf.after(oldest)
    assert following is not None
    assert following.name.first <= oldest.name.last < following.name.last
    shelf.close()


def test_a_topic_that_keeps_every_record_is_not_compacted(log):
    with pytest.raises(ConfigurationError):
        log.compact(TOPIC)


def test_a_segment_that_was_sealed_but_has_no_successor_yet_is_continued(log, tmp_path):
    fill(log, 10, 10)
    log.close()
    (name,) = list_segments(tmp_path / TOPIC)
    with sqlite3.connect(tmp_path / TOPIC / name.file) as connection:
        connection.execute("UPDATE state SET sealed = 1")
    connection.close()
    again = open_small(tmp_path)
    reader = again.reader(TP, 0)
    read_until(reader, 10)
    assert again.end_offset(TP) == 10
    fill(again, 10, 10)
    assert [r.offset for r in read_until(reader, 10)] == list(range(10, 20))
    again.close()


def test_what_a_compaction_left_behind_is_not_read_twice(log, tmp_path):
    fill(log, 200, 3_000, COMPACTED)
    folder = tmp_path / COMPACTED
    old = {name: (folder / name.file).read_bytes() for name in list_segments(folder)[:-1]}
    log.compact(COMPACTED)
    log.close()
    for name, content in old.items():
        (folder / name.file).write_bytes(content)
    again = open_small(tmp_path)
    assert len(everything(again, TopicPartition(COMPACTED, 1))) == 7
    fill(again, 10, 10, COMPACTED)
    again.close()
    assert not set(old) & {name for name in old if (folder / name.file).exists()}


def test_a_record_of_a_dead_process_is_seen_although_it_rang_no_bell(log, tmp_path):
    reader = log.reader(TP, 0)
    assert reader.read(10, MB) == []
    marks = TopicFolder(tmp_path, TOPIC, TIMEOUT).marks
    with locked(tmp_path / TOPIC / "append.lock", TIMEOUT):
        marks.begin_commit()  # what a process leaves that is killed within its commit
        (name,) = list_segments(tmp_path / TOPIC)
        other = open_small(tmp_path / "other")
        other.append_wait(TOPIC, [Entry(1, b"k", b"v")])
        other.close()
        made = tmp_path / "other" / TOPIC / name.file
        with sqlite3.connect(tmp_path / TOPIC / name.file) as connection:
            connection.execute("ATTACH ? AS made", (str(made),))
            connection.execute("INSERT INTO chunk SELECT * FROM made.chunk")
        connection.close()
    assert len(read_until(reader, 1)) == 1
    assert log.append_wait(TOPIC, [Entry(1, b"k", b"v")]) == [1]


def test_a_deep_data_directory_works(tmp_path):
    deep = tmp_path / ("d" * 100) / ("ä ?#%" * 10)
    log = open_small(deep)
    fill(log, 10, 10)
    assert len(everything(log, TP)) == 10
    log.close()


def test_a_record_that_could_not_be_read_back_is_refused(log):
    text: Any = "text"
    with pytest.raises(TypeError):
        log.append_wait(TOPIC, [Entry(1, b"k", text)])
    with pytest.raises(TypeError):
        log.append_wait(TOPIC, [Entry(1, b"k", b"v", (("name", text),))])


def test_one_failing_append_does_not_keep_the_next_from_working(log):
    acknowledged = Acknowledged()
    with pytest.raises(ValueError):
        log.append(TOPIC, [Entry(7, b"k", b"v")], acknowledged)
    log.append(TOPIC, [Entry(1, b"k", b"v")], acknowledged)
    assert acknowledged.wait(1) == [[0]]


def test_settings_out_of_bounds_are_refused(tmp_path):
    with pytest.raises(ConfigurationError):
        LogSettings(tmp_path, partitions=0)
    with pytest.raises(ConfigurationError):
        LogSettings(tmp_path, segment_bytes=0)
