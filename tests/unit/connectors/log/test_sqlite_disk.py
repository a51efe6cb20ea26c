"""The embedded log on a disk that is full."""

import os
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Entry, Log, TopicPartition
from sealwax.errors import StorageFullError
from sealwax.model.topics import TopicSpec
from tests.support.log_adapters import FACTORIES, open_sqlite
from tests.support.log_process import next_line, running
from tests.support.log_reading import everything
from tests.support.small_disk import small_disk

TOPIC = "orders"
TP = TopicPartition(TOPIC, 0)
RECORD = b"x" * 20_000
DISK_BYTES = 6 * 1024 * 1024
BALLAST_BYTES = 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """A tmpfs of 6 MB; the test of a file size limit below stands in where mounting is forbidden."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def log(disk):
    (disk / "ballast").write_bytes(bytes(BALLAST_BYTES))
    made = open_sqlite(disk)
    made.create_topics([TopicSpec(TOPIC)])
    yield made
    made.close()


def append_until_full(log: Log) -> int:
    """Appends until the disk is full; returns how many were acknowledged."""
    for number in range(DISK_BYTES // len(RECORD) + 1):
        try:
            log.append_wait(TOPIC, [Entry(0, b"%d" % number, RECORD)])
        except StorageFullError:
            return number
    raise AssertionError("the disk was never full")


def test_a_full_disk_refuses_appends_and_keeps_what_it_has(log):
    count = append_until_full(log)
    assert count > 50
    assert [r.key for r in everything(log, TP)] == [b"%d" % n for n in range(count)]
    for _ in range(3):
        with pytest.raises(StorageFullError):
            log.append_wait(TOPIC, [Entry(0, b"large", RECORD * 20)])
    assert log.end_offset(TP) == count


def test_appends_go_on_when_there_is_room_again(log, disk):
    count = append_until_full(log)
    (disk / "ballast").unlink()
    assert log.append_wait(TOPIC, [Entry(0, b"after", RECORD)]) == [count]
    assert append_until_full(log) > 10
    records = everything(log, TP)
    assert [r.offset for r in records] == list(range(len(records)))


def test_deleting_makes_room_on_a_full_disk(log):
    count = append_until_full(log)
    log.delete_before(TP, count)
    assert log.start_offset(TP) == count
    assert log.append_wait(TOPIC, [Entry(0, b"after", RECORD)]) == [count]
    assert [r.key for r in everything(log, TP)] == [b"after"]


def test_a_log_that_met_a_full_disk_opens_again(log, disk):
    count = append_until_full(log)
    log.close()
    again = open_sqlite(disk)
    assert len(everything(again, TP)) == count
    again.close()


def test_commits_on_a_full_disk_fail_clearly_or_hold(log, disk):
    append_until_full(log)
    committed = 0
    for offset in range(1, 2_000):
        try:
            log.commit(
                "render", {TopicPartition(TOPIC, offset % 4): Committed(offset, "x" * 3_000)}
            )
        except StorageFullError:
            break
        committed = offset
    if committed:
        assert log.committed("render", TopicPartition(TOPIC, committed % 4)) is not None
    (disk / "ballast").unlink()
    log.commit("render", {TP: Committed(9_999)})
    assert log.committed("render", TP) == Committed(9_999)


def test_a_reserve_is_left_alone(tmp_path: Path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    log = open_log(LogSettings(tmp_path / "log", min_free_bytes=free * 2))
    log.create_topics([TopicSpec(TOPIC)])
    with pytest.raises(StorageFullError, match="bytes free"):
        log.append_wait(TOPIC, [Entry(0, None, b"v")])
    assert log.end_offset(TP) == 0
    log.close()


def test_a_write_that_fails_half_way_leaves_nothing_and_the_next_one_works(tmp_path: Path):
    log = open_sqlite(tmp_path)
    log.create_topics([TopicSpec(TOPIC)])
    with running(
        "append_under_a_file_limit", FACTORIES["sqlite"], tmp_path, TOPIC, "150000"
    ) as process:
        count, error = int(next_line(process)), next_line(process)
        assert error in ("OSError", "StorageFullError")
        assert int(next_line(process)) == count
        assert process.wait(20) == 0
    sizes = [len(record.value or b"") for record in everything(log, TP)]
    assert sizes == [10_000] * count + [4]
    log.close()
