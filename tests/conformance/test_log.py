"""What every adapter of the log port promises. Nothing here knows how one stores it."""

import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.log.port import Committed, Entry, Log, TopicPartition
from sealwax.errors import LogClosedError
from sealwax.model.topics import TopicSpec
from tests.support.log_process import next_line, running
from tests.support.log_reading import (
    TOPIC,
    TP,
    Acknowledged,
    everything,
    fill,
    read_until,
    values,
)
from tests.support.waiting import wait_until

PLENTY = 1 << 20


# ---- append and read


def test_a_record_comes_back_as_it_was_appended(log):
    headers = (("src", b"a/1/2"), ("src", b"again"), ("empty", b""), ("näme", bytes(range(256))))
    (offset,) = log.append_wait(TOPIC, [Entry(1, b"\x00key", b"\xffvalue", headers)])
    (record,) = read_until(log.reader(TP, 0), 1)
    assert record[:6] == (TOPIC, 1, offset, b"\x00key", b"\xffvalue", headers)
    assert record.stamp_ms > 0


@pytest.mark.parametrize("key", [None, b"", b"k"])
@pytest.mark.parametrize("value", [None, b"", b"v"])
def test_no_key_and_no_value_differ_from_empty_ones(log, key, value):
    log.append_wait(TOPIC, [Entry(1, key, value)])
    (record,) = everything(log, TP)
    assert (record.key, record.value) == (key, value)


def test_records_are_read_in_the_order_of_their_append(log):
    offsets = [offset for _ in range(5) for offset in fill(log, 100)]
    records = read_until(log.reader(TP, 0), 500)
    assert [record.offset for record in records] == offsets == sorted(set(offsets))
    assert values(records) == [b"%d:xxxxxxxxxx" % n for _ in range(5) for n in range(100)]


def test_one_call_appends_to_several_partitions_and_returns_offsets_in_entry_order(log):
    order = [3, 0, 3, 1, 0, 3]
    offsets = log.append_wait(TOPIC, [Entry(p, None, b"%d" % n) for n, p in enumerate(order)])
    for n, (partition, offset) in enumerate(zip(order, offsets, strict=True)):
        (record, *_) = log.scan(TopicPartition(TOPIC, partition), offset, offset + 1)
        assert record.value == b"%d" % n


def test_a_value_of_two_megabytes_comes_back_whole(log):
    large = bytes(range(256)) * 8192
    log.append_wait(TOPIC, [Entry(1, b"k", large), Entry(1, b"k", b"small")])
    assert values(read_until(log.reader(TP, 0), 2)) == [large, b"small"]


def test_an_append_of_nothing_is_acknowledged(log):
    assert list(log.append_wait(TOPIC, [])) == []


def test_stamps_never_go_back(log):
    for _ in range(20):
        fill(log, 3)
    stamps = [record.stamp_ms for record in everything(log, TP)]
    assert stamps == sorted(stamps)


def test_a_read_returns_no_more_records_than_asked_for(log):
    fill(log, 50)
    reader = log.reader(TP, 0)
    read_until(reader, 1)
    assert len(reader.read(7, PLENTY)) == 7
    assert reader.read(0, PLENTY) == []


def test_a_read_stays_within_its_bytes_but_returns_at_least_one_record(log):
    fill(log, 20, size=1_000)
    reader = log.reader(TP, 0)
    first = wait_until(lambda: reader.read(20, 3_500), 10, "records")
    assert 1 <= len(first) <= 3
    assert len(reader.read(20, 1)) == 1


@pytest.mark.parametrize("max_bytes", [1, 1_500, 2_500])
def test_a_read_ends_where_the_last_record_is_larger_than_its_bytes(log, max_bytes):
    log.append_wait(TOPIC, [Entry(TP.partition, None, b"x" * n) for n in (1_000, 2_000)])
    reader = log.reader(TP, 0)
    seen: list[int] = []

    def all_seen() -> bool:
        seen.extend(len(record.value or b"") for record in reader.read(200, max_bytes))
        return len(seen) == 2

    wait_until(all_seen, 10, "both records")
    assert seen + reader.read(200, max_bytes) == [1_000, 2_000]


def test_small_reads_see_every_record_once(log):
    offsets = fill(log, 300, size=3_000)
    reader = log.reader(TP, 0)
    seen: list[int] = []

    def all_seen() -> bool:
        while records := reader.read(7, 10_000):
            seen.extend(record.offset for record in records)
        return len(seen) >= len(offsets)

    wait_until(all_seen, 10, "all records")
    assert seen == offsets


def test_a_read_at_the_end_is_empty_and_goes_on_with_what_comes(log):
    reader = log.reader(TP, 0)
    assert reader.read(10, PLENTY) == []
    fill(log, 2)
    assert len(read_until(reader, 2)) == 2
    assert reader.read(10, PLENTY) == []
    fill(log, 1, tp=TopicPartition(TOPIC, 2))
    assert reader.read(10, PLENTY) == []
    fill(log, 1)
    assert len(read_until(reader, 1)) == 1


def test_a_reader_starts_at_the_first_record_at_or_above_its_offset(log):
    offsets = fill(log, 200, size=2_000)
    for index in (0, 1, 77, 199):
        (record,) = read_until(log.reader(TP, offsets[index]), 1)
        assert record.offset == offsets[index]


def test_a_reader_beyond_the_end_waits_for_its_offset(log):
    offsets = fill(log, 3)
    reader = log.reader(TP, offsets[-1] + 1)
    assert reader.read(10, PLENTY) == []
    (following, *_) = fill(log, 1)
    assert read_until(reader, 1)[0].offset == following


def test_readers_of_one_partition_do_not_disturb_each_other(log):
    fill(log, 20)
    one, two = log.reader(TP, 0), log.reader(TP, 0)
    assert values(read_until(one, 20)) == values(read_until(two, 20))
    one.close()
    one.close()
    fill(log, 1)
    assert len(read_until(two, 1)) == 1


# ---- scan and offsets


def test_an_empty_partition_starts_where_it_ends(log):
    assert log.start_offset(TP) == log.end_offset(TP)
    assert everything(log, TP) == []


def test_the_end_is_one_above_the_last_durable_record(log):
    offsets = fill(log, 5)
    assert log.end_offset(TP) == offsets[-1] + 1
    assert log.end_offset(TopicPartition(TOPIC, 2)) == 0


def test_a_scan_returns_a_half_open_range(log):
    offsets = fill(log, 300, size=3_000)
    scanned = list(log.scan(TP, offsets[100], offsets[250]))
    assert [record.offset for record in scanned] == offsets[100:250]


def test_a_scan_does_not_wait_for_records_that_are_not_there(log):
    offsets = fill(log, 3)
    assert [r.offset for r in log.scan(TP, 0, offsets[-1] + 1_000)] == offsets


# ---- topics


def test_topics_are_created_once_and_keep_what_they_hold(log, open_again):
    fill(log, 3)
    other = open_again()
    other.create_topics([TopicSpec(TOPIC), TopicSpec("further")])
    assert len(everything(other, TP)) == 3
    assert log.partitions("further") == log.partitions(TOPIC)


def test_topics_are_created_by_several_at_once(log, open_again):
    specs = [TopicSpec(f"t{n}") for n in range(3)]
    logs = [open_again() for _ in range(4)]
    threads = [threading.Thread(target=one.create_topics, args=(specs,)) for one in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.append_wait("t2", [Entry(0, None, b"v")])
    assert values(everything(logs[0], TopicPartition("t2", 0))) == [b"v"]


def test_an_unknown_topic_is_a_key_error(log):
    with pytest.raises(KeyError):
        log.partitions("nobody")
    with pytest.raises(KeyError):
        log.append_wait("nobody", [Entry(0, None, b"v")])


def test_an_unknown_partition_is_refused_and_nothing_of_the_call_is_kept(log):
    with pytest.raises(ValueError):
        log.append_wait(TOPIC, [Entry(1, None, b"v"), Entry(99, None, b"v")])
    assert everything(log, TP) == []


# ---- acknowledgements and threads


def test_each_append_is_acknowledged_once_from_another_thread(log):
    acknowledged, threads = Acknowledged(), set()

    def on_durable(result):
        threads.add(threading.get_ident())
        acknowledged(result)

    for n in range(200):
        log.append(TOPIC, [Entry(n % 4, None, b"v")], on_durable)
    acknowledged.wait(200)
    log.close()
    assert len(acknowledged.results) == 200
    assert threading.get_ident() not in threads


def test_an_acknowledged_record_can_be_read(log):
    ends = []
    log.append(
        TOPIC, [Entry(1, None, b"v")], lambda offsets: ends.append((offsets[0], log.end_offset(TP)))
    )
    ((offset, end),) = wait_until(lambda: ends, 10, "the acknowledgement")
    assert end == offset + 1


def test_a_callback_that_raises_disturbs_nobody(log):
    acknowledged = Acknowledged()

    def raises(result):
        raise RuntimeError("a caller's fault")

    log.append(TOPIC, [Entry(1, None, b"a")], raises)
    log.append(TOPIC, [Entry(1, None, b"b")], acknowledged)
    acknowledged.wait(1)
    assert values(everything(log, TP)) == [b"a", b"b"]


def test_a_callback_may_append(log):
    acknowledged = Acknowledged()
    log.append(
        TOPIC,
        [Entry(1, None, b"a")],
        lambda _: log.append(TOPIC, [Entry(1, None, b"b")], acknowledged),
    )
    acknowledged.wait(1)
    assert values(everything(log, TP)) == [b"a", b"b"]


def test_appends_of_several_threads_keep_each_thread_s_order(log):
    def produce(name: int) -> None:
        for n in range(100):
            log.append(TOPIC, [Entry(1, b"%d" % name, b"%d" % n)], acknowledged)

    acknowledged = Acknowledged()
    threads = [threading.Thread(target=produce, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    acknowledged.wait(400)
    by_thread = defaultdict(list)
    for record in everything(log, TP):
        by_thread[record.key].append(int(record.value or b""))
    assert by_thread == {b"%d" % name: list(range(100)) for name in range(4)}


def test_reading_and_appending_in_many_threads_loses_nothing(log):
    count, found = 300, defaultdict(list)

    def follow(partition: int) -> None:
        reader = log.reader(TopicPartition(TOPIC, partition), 0)
        found[partition] = values(read_until(reader, count))

    readers = [threading.Thread(target=follow, args=(n,)) for n in range(4)]
    for thread in readers:
        thread.start()
    for n in range(count):
        log.append(
            TOPIC, [Entry(p, None, b"%d" % n + b"x" * 2_000) for p in range(4)], lambda _: None
        )
    for thread in readers:
        thread.join()
    assert dict(found) == {p: [b"%d" % n + b"x" * 2_000 for n in range(count)] for p in range(4)}


# ---- processes


@pytest.mark.slow
def test_processes_append_to_one_topic_at_the_same_time(log, factory, tmp_path):
    with (
        running("append", factory, tmp_path, TOPIC, "a", "150") as a,
        running("append", factory, tmp_path, TOPIC, "b", "150") as b,
    ):
        for n in range(150):
            log.append_wait(TOPIC, [Entry(p, b"c", b"c:%d" % n) for p in range(4)])
        assert (a.wait(60), b.wait(60)) == (0, 0)
    for partition in range(4):
        records = everything(log, TopicPartition(TOPIC, partition))
        for name in (b"a", b"b", b"c"):
            mine = [r.value for r in records if r.key == name]
            assert mine == [b"%s:%d" % (name, n) for n in range(150)]
        assert len(records) == 450


def test_what_another_process_appends_is_read_within_a_second(log, factory, tmp_path):
    with running("read", factory, tmp_path, TOPIC, "1", "3") as process:
        assert next_line(process) == "ready"
        for n in range(3):
            log.append_wait(TOPIC, [Entry(1, None, b"%d" % n)])
            said: list[str] = []
            thread = threading.Thread(target=lambda: said.append(next_line(process)))  # noqa: B023 - joined within the turn
            thread.start()
            thread.join(1.0)
            assert said == [str(n)]


def test_a_reader_sees_what_another_process_appends(log, factory, tmp_path):
    reader = log.reader(TP, 0)
    assert reader.read(10, PLENTY) == []
    with running("append", factory, tmp_path, TOPIC, "a", "20") as process:
        assert values(read_until(reader, 20)) == [b"a:%d" % n for n in range(20)]
        assert process.wait(20) == 0
    assert fill(log, 1)[0] >= 20


# ---- closing


def test_closing_acknowledges_what_was_appended_before(open_again, log):
    acknowledged = Acknowledged()
    for n in range(100):
        log.append(TOPIC, [Entry(1, None, b"%d" % n)], acknowledged)
    log.close()
    assert len(acknowledged.results) == 100
    assert not [r for r in acknowledged.results if isinstance(r, Exception)]
    assert len(everything(open_again(), TP)) == 100


def test_a_closed_log_takes_no_append(log):
    fill(log, 1)
    log.close()
    log.close()
    acknowledged = Acknowledged()
    log.append(TOPIC, [Entry(1, None, b"v")], acknowledged)
    (result,) = acknowledged.wait(1)
    assert isinstance(result, LogClosedError)
    with pytest.raises(LogClosedError):
        log.append_wait(TOPIC, [Entry(1, None, b"v")])


def test_closing_while_others_append_answers_every_append(log):
    acknowledged = Acknowledged()
    called: list[None] = []

    def produce() -> None:
        for _ in range(500):
            log.append(TOPIC, [Entry(1, None, b"v")], acknowledged)
            called.append(None)

    thread = threading.Thread(target=produce)
    thread.start()
    wait_until(lambda: len(called) > 50, 10, "some appends")
    log.close()
    thread.join()
    acknowledged.wait(500)
    assert len(acknowledged.results) == 500


def test_a_log_is_found_again_as_it_was(log, open_again: Callable[[], Log], tmp_path: Path):
    offsets = fill(log, 150, size=3_000)
    log.commit("render", {TP: Committed(offsets[3], "mark")})
    log.close()
    again = open_again()
    assert [r.offset for r in everything(again, TP)] == offsets
    assert again.committed("render", TP) == Committed(offsets[3], "mark")
    assert fill(again, 1)[0] > offsets[-1]
