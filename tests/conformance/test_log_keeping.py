"""What every adapter of the log port promises on groups, deletion and compaction."""

import threading

import pytest

from connectors.log.port import MOST_METADATA_BYTES, Committed, Entry, Log, Record, TopicPartition
from tests.support.log_reading import COMPACTED, TOPIC, TP, everything, fill, read_until
from tests.support.waiting import wait_until

PLENTY = 1 << 20


# ---- groups


def test_a_group_that_never_committed_has_no_position(log):
    assert log.committed("render", TP) is None
    assert log.groups() == []


def test_positions_are_committed_with_metadata_and_replaced(log):
    metadata = "ä+/=" * 750
    log.commit("render", {TP: Committed(5, metadata)})
    assert log.committed("render", TP) == Committed(5, metadata)
    log.commit("render", {TP: Committed(3)}, durable=False)
    assert log.committed("render", TP) == Committed(3, "")


def test_positions_of_one_commit_are_stored_together(log, open_again):
    tps = [TopicPartition(topic, n) for topic in (TOPIC, COMPACTED) for n in range(4)]
    log.commit("render", {tp: Committed(1, str(tp)) for tp in tps})
    assert {tp: open_again().committed("render", tp) for tp in tps} == {
        tp: Committed(1, str(tp)) for tp in tps
    }


def test_too_long_metadata_is_refused_and_nothing_is_committed(log):
    longest, other = "x" * MOST_METADATA_BYTES, TopicPartition(TOPIC, 2)
    with pytest.raises(ValueError):
        log.commit("render", {TP: Committed(1), other: Committed(1, longest + "x")})
    assert log.committed("render", TP) is None
    log.commit("render", {other: Committed(1, longest)})
    assert log.committed("render", other) == Committed(1, longest)


def test_groups_do_not_touch_each_other(log):
    log.commit("render", {TP: Committed(1)})
    log.commit("dispatch", {TP: Committed(2)})
    assert log.committed("render", TP) == Committed(1)
    assert sorted(log.groups()) == ["dispatch", "render"]


def test_lag_counts_from_the_committed_offset_or_the_start(log):
    offsets = fill(log, 10)
    assert log.lag("render", TP) == 10
    log.commit("render", {TP: Committed(offsets[4])})
    assert log.lag("render", TP) == 6
    log.commit("render", {TP: Committed(offsets[-1] + 1)})
    assert log.lag("render", TP) == 0


def test_commits_of_several_threads_all_arrive(log, open_again):
    def commit(one: Log, partition: int) -> None:
        for n in range(50):
            one.commit(
                "render", {TopicPartition(TOPIC, partition): Committed(n)}, durable=n % 10 == 0
            )

    threads = [threading.Thread(target=commit, args=(open_again(), n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        assert log.committed("render", TopicPartition(TOPIC, n)) == Committed(49)


# ---- deletion


def test_deleted_records_are_not_read_and_the_rest_stays(log):
    offsets = fill(log, 400, size=3_000)
    log.delete_before(TP, offsets[250])
    start = log.start_offset(TP)
    assert start <= offsets[250]
    assert [r.offset for r in everything(log, TP)] == [o for o in offsets if o >= start]
    assert log.lag("render", TP) == len([o for o in offsets if o >= start])


def test_deletion_moves_on_a_reader_that_stands_below(log):
    fill(log, 400, size=3_000)
    reader = log.reader(TP, 0)
    read_until(reader, 10)
    for partition in range(4):
        log.delete_before(
            TopicPartition(TOPIC, partition), log.end_offset(TopicPartition(TOPIC, partition))
        )
    later = fill(log, 5)
    rest: list[int] = []

    def read_to_the_end() -> bool:
        rest.extend(record.offset for record in reader.read(100, PLENTY))
        return bool(rest) and rest[-1] == later[-1]

    wait_until(read_to_the_end, 10, "the records after the deletion")
    assert rest == sorted(set(rest))


def test_deletion_never_takes_what_stands_at_or_above_it(log):
    offsets = fill(log, 100, size=3_000)
    log.delete_before(TP, offsets[50])
    log.delete_before(TP, offsets[20])
    assert [r.offset for r in everything(log, TP) if r.offset >= offsets[50]] == offsets[50:]
    log.delete_before(TP, offsets[-1] + 1_000)
    assert log.start_offset(TP) <= log.end_offset(TP) == offsets[-1] + 1


def test_deletion_of_one_partition_leaves_the_others(log):
    other = TopicPartition(TOPIC, 2)
    fill(log, 200, size=3_000, tp=other)
    fill(log, 200, size=3_000)
    log.delete_before(TP, log.end_offset(TP))
    assert len(everything(log, other)) == 200
    assert log.start_offset(other) == 0


def test_offsets_go_on_after_everything_was_deleted(log, open_again):
    offsets = fill(log, 200, size=3_000)
    log.delete_before(TP, offsets[-1] + 1)
    log.close()
    again = open_again()
    assert again.end_offset(TP) == offsets[-1] + 1
    assert fill(again, 1)[0] > offsets[-1]


# ---- compaction


def settle(log: Log, rounds: int, keys: int) -> dict[bytes | None, tuple[int, bytes | None]]:
    """Appends rounds of records with the same keys; returns offset and value of each last one."""
    last: dict[bytes | None, tuple[int, bytes | None]] = {}
    for number in range(rounds):
        entries = [
            Entry(1, b"%d" % key, b"%d:%d" % (key, number) + b"x" * 2_000) for key in range(keys)
        ]
        for entry, offset in zip(entries, log.append_wait(COMPACTED, entries), strict=True):
            last[entry.key] = (offset, entry.value)
    return last


def test_compaction_keeps_the_last_record_of_each_key_at_its_offset(log):
    last = settle(log, 30, 10)
    tp = TopicPartition(COMPACTED, 1)
    log.compact(COMPACTED)
    records = everything(log, tp)
    kept = {record.key: (record.offset, record.value) for record in records}
    assert kept == last
    assert [r.offset for r in records] == sorted(r.offset for r in records)
    assert log.end_offset(tp) == 300


def test_compaction_keeps_a_tombstone_until_it_is_superseded(log):
    tp = TopicPartition(COMPACTED, 1)
    settle(log, 5, 3)
    log.append_wait(
        COMPACTED, [Entry(1, b"0", None), Entry(1, b"1", None), Entry(1, b"1", b"back")]
    )
    log.compact(COMPACTED)
    kept = {record.key: record.value for record in everything(log, tp)}
    assert kept[b"0"] is None
    assert kept[b"1"] == b"back"


def test_compaction_can_be_repeated(log):
    tp = TopicPartition(COMPACTED, 1)
    for _ in range(4):
        last = settle(log, 5, 10)
        log.compact(COMPACTED)
        assert {r.key: (r.offset, r.value) for r in everything(log, tp)} == last


def test_a_reader_passes_through_a_compaction(log):
    last = settle(log, 30, 10)
    reader = log.reader(TopicPartition(COMPACTED, 1), 0)
    seen = read_until(reader, 25)
    log.compact(COMPACTED)
    later = settle(log, 1, 10)

    def read_to_the_end() -> bool:
        seen.extend(reader.read(10, PLENTY))
        return seen[-1].offset == later[b"9"][0]

    wait_until(read_to_the_end, 10, "the last record")
    offsets = [record.offset for record in seen]
    assert offsets == sorted(set(offsets))
    assert {offset for offset, _ in last.values()} <= set(offsets)


def test_appends_and_readers_go_on_during_compactions(log):
    tp, ended = TopicPartition(COMPACTED, 1), threading.Event()
    seen: list[Record] = []
    last = {}

    def follow() -> None:
        reader = log.reader(tp, 0)
        while not (ended.is_set() and seen and seen[-1].offset == log.end_offset(tp) - 1):
            seen.extend(reader.read(20, PLENTY))

    follower = threading.Thread(target=follow)
    follower.start()
    for _ in range(8):
        last = settle(log, 6, 10)
        log.compact(COMPACTED)
    ended.set()
    follower.join(30)
    assert not follower.is_alive()
    offsets = [record.offset for record in seen]
    assert offsets == sorted(set(offsets))
    # Whatever was dropped before it was read, the last of each key was seen.
    assert {record.key: record.value for record in seen} == {k: v for k, (_, v) in last.items()}
