"""The embedded log in Kafka: each record at its offset, and each group where it was."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from time import sleep

import pytest
from typing_extensions import override

from connectors.log import KafkaSettings, LogSettings, moved, open_log
from connectors.log.copying import CopyError, LogCopy, digest, positions_of, ranges
from connectors.log.kafka.filling import Filler
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from connectors.log.kafka.setup import found_differences, set_up
from connectors.log.moved import Moved
from connectors.log.port import Committed, Entry, Log, Record, TopicPartition
from connectors.log.settle import encode_mark
from connectors.log.sqlite.log import SqliteLog
from sealwax.errors import ConfigurationError
from sealwax.model import topics
from tests.support.kafka import Cluster, namespace

PARTITIONS = 2
READY, RETRY = TopicPartition(topics.READY[0], 1), TopicPartition(topics.RETRY[1], 0)
EVENTS, GONE = TopicPartition(topics.EVENTS, 0), TopicPartition(topics.EVENTS, 1)
CONTROL = TopicPartition(topics.CONTROL, 0)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Log]:
    """A log with a past: starts above 0, partitions with nothing left, compacted keys."""
    log = SqliteLog(LogSettings(tmp_path / "log", PARTITIONS, segment_bytes=256 * 1024))
    log.create_topics(topics.ALL)
    headers = (("src", b"email.ready.transactional/1/7"), ("twice", b""), ("twice", b"\xff\0"))
    log.append_wait(READY.topic, [Entry(1, b"k%d" % n, b"v%d" % n, headers) for n in range(2_500)])
    log.append_wait(RETRY.topic, [Entry(0, None, b""), Entry(0, b"", b"x" * 300_000)])
    log.append_wait(EVENTS.topic, [Entry(n % 2, None, b"%d" % n) for n in range(400)])
    for n in range(6):
        log.append_wait(CONTROL.topic, [Entry(0, b"key", b"x" * 200_000), Entry(0, b"%d" % n, b"")])
    log.append_wait(CONTROL.topic, [Entry(0, b"0", None)])
    log.compact(CONTROL.topic)
    log.delete_before(READY, 1_800)
    log.delete_before(GONE, 200)
    log.commit("dispatch", {READY: Committed(2_000, encode_mark((150, 0, 2)))})
    log.commit("analytics", {EVENTS: Committed(120, "199")})
    log.commit("dispatch.readback.0", {EVENTS: Committed(100)})
    yield log
    log.close()


@pytest.fixture
def settings(kafka: Cluster) -> KafkaSettings:
    return KafkaSettings(kafka.bootstrap, namespace(), partitions=PARTITIONS)


@pytest.fixture
def target(settings: KafkaSettings) -> Iterator[KafkaLog]:
    log = KafkaLog(settings)
    yield log
    log.close()


def copy(source: Log, target: KafkaLog) -> int:
    return LogCopy(source, target, lambda _text: None, lambda seconds: sleep(seconds / 10)).run()


def read(log: Log, tp: TopicPartition) -> list[Record]:
    return list(log.scan(tp, log.start_offset(tp), log.end_offset(tp)))


def assert_same(source: Log, target: KafkaLog) -> None:
    assert ranges(target) == ranges(source) | {
        CONTROL: (0, source.end_offset(CONTROL)),
    }
    for tp in ranges(source):
        if tp != CONTROL:
            assert read(target, tp) == read(source, tp), tp
    for group, positions in positions_of(source).items():
        assert target.committed_all(group, list(positions)) == positions


def test_every_record_keeps_offset_stamp_key_value_and_headers_and_every_group_its_place(
    source, target, settings
):
    total = sum(end - first for first, end in ranges(source).values())
    assert copy(source, target) == total
    assert_same(source, target)
    assert target.start_offset(GONE) == target.end_offset(GONE) == 200
    assert found_differences(target) == {}
    set_up(settings, target)


def test_gaps_of_compaction_are_filled_with_what_compaction_removes(source, target):
    kept = read(source, CONTROL)
    assert len(kept) < source.end_offset(CONTROL)  # there are gaps
    copy(source, target)
    found = read(target, CONTROL)
    assert [record.offset for record in found] == list(range(source.end_offset(CONTROL)))
    assert [record for record in found if record in kept] == kept
    others = {(record.key, record.value) for record in found if record not in kept}
    assert others == {(b"\0sealwax-placeholder", None)}


def test_what_is_appended_afterwards_has_the_stamps_of_kafka(source, target):
    copy(source, target)
    newest = read(source, READY)[-1]
    assert target.append_wait(READY.topic, [Entry(1, None, b"new")]) == [newest.offset + 1]
    assert read(target, READY)[-1].stamp_ms > newest.stamp_ms


def test_a_copy_that_stopped_anywhere_goes_on(source, target):
    class StopError(Exception):
        pass

    made = 0
    for stop_after in (1, 700, 1_500):
        filled = 0

        class Stopping(Filler):
            @override
            def append(self, record: Record, stop_after: int = stop_after) -> None:
                nonlocal filled
                filled += 1
                if filled > stop_after:
                    self.flush()
                    raise StopError
                super().append(record)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("connectors.log.copying.Filler", Stopping)
            with pytest.raises(StopError):
                copy(source, target)
        made += 1
        with pytest.raises(ConfigurationError):
            set_up(target.settings, target)  # nobody starts on half of it
    assert made == 3
    copy(source, target)
    assert_same(source, target)
    copy(source, target)  # once more changes nothing
    assert_same(source, target)


def test_a_topic_that_holds_something_else_is_refused_and_nothing_is_appended(source, target):
    set_up(target.settings, target)
    target.append_wait(EVENTS.topic, [Entry(0, None, b"of a platform that ran here")])
    with pytest.raises(CopyError, match=r"email\.events holds something else"):
        copy(source, target)
    assert target.end_offset(READY) == 0
    assert target.committed("dispatch", READY) is None


def test_topics_with_another_number_of_partitions_are_refused(source, target, settings):
    target.topics.create(topics.ALL_OF_KAFKA, PARTITIONS + 1)
    with pytest.raises(ConfigurationError, match="has 3 partitions and the embedded log 2"):
        copy(source, target)


def test_a_target_on_which_a_flow_runs_is_refused(source, target, settings):
    set_up(settings, target)
    member = Membership(
        target,
        settings,
        MemberSettings("dispatch", "one", timedelta(seconds=6)),
        on_changed=lambda: None,
        on_lost=lambda: None,
    )
    try:
        member.acquire(())
        with pytest.raises(ConfigurationError, match="flow dispatch runs on the target"):
            copy(source, target)
    finally:
        member.close()


def test_records_with_stamps_of_a_clock_that_was_ahead_keep_them(tmp_path, target, monkeypatch):
    log = SqliteLog(LogSettings(tmp_path / "log", PARTITIONS))
    log.create_topics(topics.ALL)
    monkeypatch.setattr("sealwax.clock.now_ms", lambda: 4_000_000_000_000)  # in 2096
    log.append_wait(EVENTS.topic, [Entry(0, None, b"v")])
    monkeypatch.undo()
    with closing(log):
        assert read(log, EVENTS)[0].stamp_ms == 4_000_000_000_000
        copy(log, target)
        assert read(target, EVENTS) == read(log, EVENTS)


def test_a_digest_tells_records_apart_by_each_of_their_parts():
    record = Record("t", 0, 1, b"k", b"v", (("h", b"1"),), 5)
    others = [
        record._replace(offset=2),
        record._replace(key=None),
        record._replace(value=None),
        record._replace(value=b""),
        record._replace(headers=(("h", b""),)),
        record._replace(headers=()),
        record._replace(stamp_ms=6),
    ]
    assert len({digest([one]) for one in [record, *others]}) == 8
    assert digest([record, record]) != digest([record])


def test_a_log_that_was_moved_is_opened_no_more_and_says_where_it_is(tmp_path):
    settings = LogSettings(tmp_path / "log", PARTITIONS)
    open_log(settings).close()
    moved.write(settings.directory, Moved("broker:9092", "a.", done=False))
    with pytest.raises(ConfigurationError, match="is being moved to Kafka at broker:9092"):
        open_log(settings)
    moved.write(settings.directory, Moved("broker:9092", "a.", done=True))
    with pytest.raises(ConfigurationError, match=r"moved to Kafka at broker:9092, namespace 'a\.'"):
        open_log(settings)
    moved.refuse_unfinished(settings.directory)
