"""What a former owner appends behind the next one's fence counts for nobody (R3)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.log import LogSettings, open_log, specs
from connectors.log.fences import Fences, Owner, Writer, admitted, fence_entry, writer_of
from connectors.log.flow_spec import FlowSpec
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import MOST_METADATA_BYTES, Committed, Entry, Log, Record, TopicPartition
from connectors.log.settle import Stand, decode_mark, decode_stand, encode_stand, source_header
from connectors.log.settling import Settling
from connectors.log.source import LogSource
from sealwax import clock
from sealwax.errors import UnreadableRecordError
from sealwax.model import topics
from sealwax.model.delivery import Position
from sealwax.policy.topic_layout import MOST_PARTITIONS
from tests.support.lifecycle import Running
from tests.support.waiting import wait_until

READY = topics.ready(topics.Stream.TRANSACTIONAL)
RETRY = topics.retry(topics.Stream.TRANSACTIONAL, "1h")
SOURCE, EVENTS = TopicPartition(READY, 0), TopicPartition(topics.EVENTS, 0)
SPEC = FlowSpec("dispatch", {READY: 1}, lambda number: [TopicPartition(topics.EVENTS, number)])

writers = st.builds(
    Writer, st.sampled_from(["render", "dispatch"]), st.integers(0, 2), st.integers(1, 5)
)
steps = st.lists(st.tuples(st.booleans(), writers), max_size=30)


def record(offset: int, fence: bool, writer: Writer, tp: TopicPartition = EVENTS) -> Record:
    if fence:
        entry = fence_entry(tp.partition, writer)
    else:
        entry = Entry(tp.partition, b"k", b"v", (writer.header(),))
    return Record(tp.topic, tp.partition, offset, entry.key, entry.value, entry.headers, 1)


def records_of(history) -> list[Record]:
    return [record(n, fence, writer) for n, (fence, writer) in enumerate(history)]


@given(steps)
def test_a_record_counts_unless_a_newer_owner_s_fence_stands_before_it(history):
    kept = [each.offset for each in admitted(records_of(history), EVENTS)]
    expected = [
        n
        for n, (fence, writer) in enumerate(history)
        if not fence
        and not any(
            is_fence and before[:2] == writer[:2] and before.incarnation > writer.incarnation
            for is_fence, before in history[:n]
        )
    ]
    assert kept == expected


@given(steps, st.integers(0, 30), st.integers(0, 30))
def test_a_reader_that_goes_on_from_what_it_committed_keeps_the_same_records(history, at, ahead):
    records = records_of(history)
    whole = Fences(EVENTS)
    expected = [each.offset for each in records if whole.admits(each) and each.offset >= at]
    first = Fences(EVENTS)
    for each in records[: at + ahead]:  # it reads ahead of what it commits
        first.admits(each)
    again = Fences(EVENTS, first.before(at))
    assert [each.offset for each in records[at:] if again.admits(each)] == expected


@example((7,), 1, b"ends in\0", ())
@given(
    st.lists(st.integers(0, 2**40), max_size=20).map(tuple),
    st.integers(0, 2**30),
    st.just(b"") | st.binary(min_size=8, max_size=8).filter(any),
    st.lists(writers, max_size=5).map(tuple),
)
def test_a_stand_comes_back_as_it_was_committed(ends, writer, lives, fences):
    stand = Stand(ends, writer, lives, fences)
    assert decode_stand(encode_stand(stand)) == stand
    assert decode_mark(encode_stand(stand)) == ends


class Largest:
    """A log of as many partitions as there may be."""

    @staticmethod
    def partitions(_topic: str) -> int:
        return MOST_PARTITIONS


@pytest.mark.parametrize("spec", [specs.render(Largest), specs.dispatch()], ids=lambda s: s.name)  # type: ignore[arg-type] # it is asked for nothing else
def test_the_largest_stand_fits_into_the_metadata_of_an_offset(spec):
    number = MOST_PARTITIONS - 1
    ends = tuple(2**40 - 1 - n for n, _ in enumerate(spec.outputs(number)))
    # Every owner of render puts a fence into a ready partition, and others trust no requests.
    fences = [Writer("render", n, 2**20 + n) for n in range(MOST_PARTITIONS)]
    stand = Stand(ends, 2**20, b"8 bytes.", tuple(fences) if spec.name == "dispatch" else ())
    text = encode_stand(stand)
    assert decode_stand(text) == stand
    assert len(text.encode()) <= MOST_METADATA_BYTES


@given(st.text(max_size=60))
def test_other_text_is_no_stand(text):
    try:
        assert isinstance(decode_stand(text), Stand)
    except UnreadableRecordError as error:
        assert error.reason in ("bad_mark", "unknown_version")


@given(st.binary(max_size=30))
def test_other_bytes_name_no_writer(raw):
    found = writer_of(raw)
    assert found is None or found.header()[1].decode() == raw.decode()


def test_a_fence_in_a_topic_of_producers_counts_for_nothing():
    requested = TopicPartition(topics.REQUESTED[0], 0)
    fences = Fences(requested)
    assert fences.admits(record(0, True, Writer("render", 0, 9), requested))
    assert fences.admits(record(1, False, Writer("render", 0, 1), requested))


# ---- on a log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", 1))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def outcome(log: Log, offset: int, writer: Writer | None) -> None:
    headers = (("src", source_header(Position(READY, 0, offset))),)
    signed = (*headers, writer.header()) if writer else headers
    log.append_wait(topics.EVENTS, [Entry(0, b"k", b"{}", signed)])


def handed_out(settling: Settling, tp: TopicPartition = SOURCE) -> list[int]:
    """Everything up to the end of the partition, or until it stops."""
    source = LogSource(settling, Running(), one_outcome=True)
    part = source.build_part("log", f"{tp.topic}/{tp.partition}", None)
    items: list[int] = []

    def is_through() -> bool:
        items.extend(item.record.offset for item in part.next_batch())
        return tp in settling.stopped or settling.settler(tp).position == settling.log.end_offset(
            tp
        )

    wait_until(is_through, 10, "the partition's records")
    part.close()
    return items


def own(incarnation: int) -> dict[int, Writer]:
    return {0: Writer("dispatch", 0, incarnation)}


def test_a_start_finds_what_the_former_owner_did_in_time_and_not_what_came_late(log):
    log.append_wait(READY, [Entry(0, b"k", b"v")] * 4)
    first = Settling(log, SPEC, [0], owner=Owner(own(1)))
    first.close()
    outcome(log, 0, Writer("dispatch", 0, 1))
    second = Settling(log, SPEC, [0], owner=Owner(own(2)))
    outcome(log, 1, Writer("dispatch", 0, 1))  # late: it stands behind the second one's fence
    assert handed_out(second) == [1, 2, 3]
    outcome(log, 2, Writer("dispatch", 0, 2))
    second.close()
    third = Settling(log, SPEC, [0], owner=Owner(own(3)))
    assert handed_out(third) == [1, 3]
    third.close()


def test_a_former_owner_that_wakes_commits_nothing_more(log):
    log.append_wait(READY, [Entry(0, b"k", b"v")] * 4)
    valid_until = inf
    first = Settling(log, SPEC, [0], owner=Owner(own(1), lambda: valid_until), timer=False)
    assert handed_out(first) == [0, 1, 2, 3]
    first.settler(SOURCE).settle((0,))
    first.commit_round()
    valid_until = -inf  # it stands still, and others take over
    second = Settling(log, SPEC, [0], owner=Owner(own(2)), timer=False)
    assert handed_out(second) == [1, 2, 3]
    outcome(log, 1, Writer("dispatch", 0, 2))
    for number in (1, 2, 3):
        outcome(log, number, Writer("dispatch", 0, 1))  # late
    first.settler(SOURCE).settle((1, 2, 3))
    first.commit_round()
    first.close()
    third = Settling(log, SPEC, [0], owner=Owner(own(3)))
    assert handed_out(third) == [2, 3]
    third.close()


def test_a_machine_that_was_suspended_commits_nothing_more(log, monkeypatch):
    log.append_wait(READY, [Entry(0, b"k", b"v")] * 2)
    valid_until = clock.since_boot() + 60
    settling = Settling(log, SPEC, [0], owner=Owner(own(1), lambda: valid_until), timer=False)
    assert handed_out(settling) == [0, 1]
    settling.commit_round()
    before = log.committed("dispatch", SOURCE)
    settling.settler(SOURCE).settle((0, 1))
    # Only this clock has gone on meanwhile.
    monkeypatch.setattr(clock, "since_boot", lambda: valid_until + 1)
    settling.commit_round()
    settling.close()
    assert log.committed("dispatch", SOURCE) == before


class Rising:
    """An owner whose incarnations begin anew: the topic that they come from was made anew."""

    def __init__(self, incarnation: int) -> None:
        self.writers = own(incarnation)
        self.asked: list[dict[int, int]] = []

    def rise(self, above: Mapping[int, int]) -> None:
        self.asked.append(dict(above))
        self.writers |= {number: Writer("dispatch", number, at + 1) for number, at in above.items()}

    @property
    def owner(self) -> Owner:
        return Owner(self.writers, rise=self.rise)


def test_an_owner_takes_an_incarnation_above_that_of_what_was_committed(log):
    log.append_wait(READY, [Entry(0, b"k", b"v")] * 3)
    first = Settling(log, SPEC, [0], owner=Owner(own(9)))
    assert handed_out(first) == [0, 1, 2]
    outcome(log, 0, Writer("dispatch", 0, 9))
    first.close()
    rising = Rising(2)
    second = Settling(log, SPEC, [0], owner=rising.owner)
    assert rising.asked == [{0: 9}]
    assert handed_out(second) == [1, 2]
    outcome(log, 1, Writer("dispatch", 0, 10))
    second.close()
    third = Settling(log, SPEC, [0], owner=Owner(own(11)))
    assert handed_out(third) == [2]
    third.close()


@pytest.mark.parametrize("waiting", [0, 3])
@pytest.mark.parametrize("incarnation", [2, 9])
def test_an_owner_takes_an_incarnation_above_a_fence_that_nothing_committed_speaks_of(
    log, waiting, incarnation
):
    log.append_wait(READY, [Entry(0, b"k", b"v")] * waiting)
    log.append_wait(topics.EVENTS, [fence_entry(0, Writer("dispatch", 0, 9))])
    rising = Rising(incarnation)
    settling = Settling(log, SPEC, [0], owner=rising.owner)
    assert rising.asked == [{0: 9}]
    settling.close()


def test_an_owner_above_all_others_keeps_its_incarnation(log):
    others = [Writer("dispatch", 0, 9), Writer("dispatch", 1, 20), Writer("render", 0, 20)]
    log.append_wait(topics.EVENTS, [fence_entry(0, writer) for writer in others])
    settling = Settling(log, SPEC, [0], owner=Owner(own(10)))
    settling.close()


def test_late_records_of_a_source_are_passed_over(log):
    render, later = Writer("render", 0, 1), Writer("render", 0, 2)
    log.append_wait(
        READY,
        [
            Entry(0, b"k", b"v", (render.header(),)),
            fence_entry(0, later),
            Entry(0, b"k", b"v", (render.header(),)),
            Entry(0, b"k", b"v", (later.header(),)),
        ],
    )
    settling = Settling(log, SPEC, [0])
    assert handed_out(settling) == [0, 3]
    settling.settler(SOURCE).settle((0, 3))
    assert settling.settler(SOURCE).watermark == 4
    settling.close()


def test_a_fence_and_what_came_late_are_not_held_in_a_delay_topic(log):
    delayed = TopicPartition(RETRY, 0)
    spec = FlowSpec("dispatch", {RETRY: 1}, SPEC.outputs, hold_ms={RETRY: 3_600_000})
    late = Entry(0, b"k", b"v", (Writer("dispatch", 0, 1).header(),))
    log.append_wait(RETRY, [fence_entry(0, Writer("dispatch", 0, 2)), late, Entry(0, b"k", b"v")])
    settling = Settling(log, spec, [0])
    part = LogSource(settling, Running(), one_outcome=True).build_part("log", f"{RETRY}/0", None)
    wait_until(lambda: part.next_batch() or settling.settler(delayed).watermark, 10, "the fence")
    assert part.next_batch() == []
    assert settling.settler(delayed).watermark == 2
    part.close()
    settling.close()


def test_outcomes_name_their_writer(log):
    log.append_wait(READY, [Entry(0, b"k", b"v")])
    settling = Settling(log, SPEC, [0], owner=Owner(own(7)))
    source = Position(READY, 0, 0)
    entry = Entry(0, b"k", b"{}", (("src", source_header(source)),))
    OutcomeWriter(settling).write([(topics.EVENTS, [entry])], [source])
    wait_until(lambda: settling.acks, 10, "the acknowledgement")
    *_, written = log.scan(EVENTS, 0, log.end_offset(EVENTS))
    assert ("writer", b"dispatch/0/7") in written.headers
    settling.close()


# ---- what is gone is not passed over (R4)


def stopped(log: Log) -> str:
    settling = Settling(log, SPEC, [0])
    try:
        assert handed_out(settling) == []
        return settling.stopped.get(SOURCE, "")
    finally:
        settling.close()


def filled(directory: Path) -> Log:
    log = open_log(LogSettings(directory / "small", 1, segment_bytes=65_536))
    log.create_topics(topics.ALL)
    for topic in (READY, topics.EVENTS):
        log.append_wait(topic, [Entry(0, b"k", b"x" * 3_000)] * 100)
        log.append_wait(topic, [Entry(0, b"k", b"x" * 3_000)] * 100)
    return log


def test_a_partition_that_lost_records_before_they_were_read_stops(tmp_path):
    log = filled(tmp_path)
    log.delete_before(SOURCE, 150)
    first = log.start_offset(SOURCE)
    assert first
    assert stopped(log) == f"no offset is committed, and it begins at {first}"
    log.commit("dispatch", {SOURCE: Committed(first - 1, encode_stand(Stand((200,))))})
    assert "were deleted before they were read" in stopped(log)
    log.commit("dispatch", {SOURCE: Committed(201, encode_stand(Stand((200,))))})
    assert "it was cut or made anew" in stopped(log)
    assert log.committed("dispatch", SOURCE) == Committed(201, encode_stand(Stand((200,))))
    log.close()


def test_a_partition_whose_outcomes_are_not_known_any_more_stops(tmp_path):
    log = filled(tmp_path)
    log.delete_before(EVENTS, 150)
    assert "which of its records were done" in stopped(log)
    log.close()


def test_a_reader_that_comes_upon_a_gap_of_deleted_records_stops(tmp_path):
    log = filled(tmp_path)
    settling = Settling(log, replace(SPEC, window_records=50), [0])
    part = LogSource(settling, Running(), one_outcome=True).build_part("log", f"{READY}/0", None)
    seen = wait_until(part.next_batch, 10, "the first records")
    log.delete_before(SOURCE, 200)
    log.append_wait(READY, [Entry(0, b"k", b"v")])
    settling.settler(SOURCE).settle([item.record.offset for item in seen])
    # The embedded reader has files open that are deleted; one in a cluster finds nothing there.
    part._reader = log.reader(SOURCE, len(seen))
    wait_until(lambda: part.next_batch() or settling.stopped, 10, "the gap")
    reason = f"records {len(seen)} to 199 were deleted before they were read"
    assert settling.stopped == {SOURCE: reason}
    settling.close()
    log.close()
