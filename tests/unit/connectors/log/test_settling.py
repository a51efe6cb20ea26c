"""Settling on a real log: what a start finds, hands out, and commits (R2)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.flow_spec import FlowSpec
from connectors.log.outcomes import OutcomeWriter
from connectors.log.peers import Settled
from connectors.log.port import Committed, Entry, Log, Record, TopicPartition
from connectors.log.settle import decode_mark, encode_mark, source_header
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink, SourceItem
from connectors.log.specs import rendered_bytes
from sealwax import clock
from sealwax.model import topics
from sealwax.model.delivery import Position
from tests.support.lifecycle import Running
from tests.support.waiting import wait_until

READY = topics.ready(topics.Stream.TRANSACTIONAL)
RETRY = topics.retry(topics.Stream.TRANSACTIONAL, "1m")
OUTPUTS = (topics.EVENTS, topics.DEAD, RETRY)
NUMBER = 1
SOURCE = TopicPartition(READY, NUMBER)
WHOLE = encode_mark((0, 0, 0))


def spec(**changes: object) -> FlowSpec:
    fields: dict[str, object] = {
        "name": "flow",
        "shares": {READY: 1},
        "outputs": lambda number: [TopicPartition(topic, number) for topic in OUTPUTS],
    }
    return FlowSpec(**{**fields, **changes})  # type: ignore[arg-type]  # built from a dict


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", 2))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def fill(log: Log, records: int, tp: TopicPartition = SOURCE) -> None:
    log.append_wait(tp.topic, [Entry(tp.partition, b"k", b"%d" % n) for n in range(records)])


def outcome(log: Log, topic: str, offset: int, index: int | None = None) -> int:
    """Appends an outcome of a record of SOURCE; its own offset."""
    headers = (("src", source_header(Position(READY, NUMBER, offset), index)),)
    return log.append_wait(topic, [Entry(NUMBER, b"k", b"", headers)])[0]


@contextmanager
def started(log: Log, flow: FlowSpec | None = None) -> Iterator[Settling]:
    settling = Settling(log, flow or spec(), [NUMBER])
    try:
        yield settling
    finally:
        settling.close()


def handed_out(
    settling: Settling, tp: TopicPartition = SOURCE, *, one_outcome: bool = True
) -> list[SourceItem]:
    """Everything that a partition hands out until it has nothing more."""
    source = LogSource(settling, Running(), one_outcome=one_outcome)
    part = source.build_part("log", f"{tp.topic}/{tp.partition}", None)
    items = [item for batch in iter(part.next_batch, []) for item in batch]
    part.close()
    return items


def offsets(items: Sequence[SourceItem]) -> list[int]:
    return [item.record.offset for item in items]


def test_a_start_hands_out_what_has_no_outcome_in_any_output(log):
    fill(log, 6)
    outcome(log, topics.EVENTS, 1)
    outcome(log, RETRY, 3)
    outcome(log, topics.DEAD, 4)
    with started(log) as settling:
        assert offsets(handed_out(settling)) == [0, 2, 5]
        settler = settling.settler(SOURCE)
        settler.settle([2, 5])
        assert settler.watermark == 0
        settler.settle([0])
        assert settler.watermark == 6


def test_what_is_done_of_a_record_is_known_by_output_and_recipient(log):
    fill(log, 2)
    outcome(log, topics.EVENTS, 0, 0)
    outcome(log, RETRY, 0, 0)
    outcome(log, RETRY, 0, 7)
    with started(log) as settling:
        first, second = handed_out(settling, one_outcome=False)
        assert first.done == {(topics.EVENTS, 0), (RETRY, 0), (RETRY, 7)}
        assert second.done == frozenset()


def test_outcomes_are_looked_for_from_the_mark_on(log):
    fill(log, 2)
    outcome(log, topics.EVENTS, 0)
    at = outcome(log, topics.EVENTS, 1)
    log.commit("flow", {SOURCE: Committed(0, encode_mark((at, 0, 0)))})
    with started(log) as settling:
        assert offsets(handed_out(settling)) == [0]


@pytest.mark.parametrize("mark", ["", "garbage", encode_mark((5,)), encode_mark((1, 2, 3, 4))])
def test_without_a_mark_that_can_be_read_the_outputs_are_read_whole(log, mark):
    fill(log, 4)
    outcome(log, topics.EVENTS, 1)
    outcome(log, topics.EVENTS, 2)
    log.commit("flow", {SOURCE: Committed(1, mark)})
    with started(log) as settling:
        assert offsets(handed_out(settling)) == [3]


@pytest.mark.parametrize("src", [b"", b"\xff", b"a/b/c", b"email.events/1/0", b"1/2/3/4/5"])
def test_outcomes_of_nobody_stop_no_start(log, src):
    fill(log, 1)
    log.append_wait(topics.EVENTS, [Entry(NUMBER, b"k", b"", (("src", src),))])
    log.append_wait(topics.EVENTS, [Entry(NUMBER, b"k", b"")])
    with started(log) as settling:
        assert offsets(handed_out(settling)) == [0]


def test_a_delay_topic_may_be_source_and_output_at_once(log):
    fill(log, 2, TopicPartition(RETRY, NUMBER))
    again = (("src", source_header(Position(RETRY, NUMBER, 0))),)
    log.append_wait(RETRY, [Entry(NUMBER, b"k", b"round again", again)])
    with started(log, spec(shares={READY: 1, RETRY: 1})) as settling:
        assert offsets(handed_out(settling, TopicPartition(RETRY, NUMBER))) == [1, 2]


def test_what_was_settled_stays_settled_when_the_log_is_opened_again(tmp_path):
    for expected in ([0, 1, 2], [2], [2]):
        log = open_log(LogSettings(tmp_path / "log", 2))
        log.create_topics(topics.ALL)
        if not log.end_offset(SOURCE):
            fill(log, 3)
        with started(log) as settling:
            assert offsets(handed_out(settling)) == expected
            settling.settler(SOURCE).settle([0, 1])
        log.close()


def test_a_last_commit_that_is_refused_keeps_no_process_from_ending(tmp_path):
    log = open_log(LogSettings(tmp_path / "log", 2))
    log.create_topics(topics.ALL)
    fill(log, 1)
    settling = Settling(log, spec(), [NUMBER], timer=False)
    handed_out(settling)
    settling.settler(SOURCE).settle([0])
    log.close()
    settling.close()
    again = open_log(LogSettings(tmp_path / "log", 2))
    assert again.committed("flow", SOURCE) is None
    again.close()


def committed_ends(log: Log) -> tuple[int, ...]:
    committed = log.committed("flow", SOURCE)
    return decode_mark(committed.metadata) if committed else ()


def test_the_mark_of_an_idle_partition_moves_with_its_outputs(log):
    with started(log):
        at = outcome(log, topics.EVENTS, 0)
        wait_until(lambda: committed_ends(log) == (at + 1, 0, 0), 5, "the mark to move")


def test_a_commit_that_comes_after_newer_ones_is_soon_overwritten(log, monkeypatch):
    now_s = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now_s)
    fill(log, 2)
    settling = Settling(log, spec(), [NUMBER], timer=False)
    handed_out(settling)
    settling.settler(SOURCE).settle([0, 1])
    settling.commit_round()
    newest = log.committed("flow", SOURCE)
    log.commit("flow", {SOURCE: Committed(0, WHOLE)})  # one that nobody waited for any more
    now_s += 30  # nothing else moves meanwhile
    settling.commit_round()
    assert log.committed("flow", SOURCE) == newest
    settling.close()


def test_the_mark_stays_before_the_outcomes_of_what_is_unsettled(log):
    other = topics.ready(topics.Stream.MARKETING)
    flow = spec(shares={READY: 1, other: 1})
    fill(log, 2)
    with started(log, flow) as settling:
        assert offsets(handed_out(settling)) == [0, 1]
        at = outcome(log, topics.EVENTS, 1)
        settling.settler(SOURCE).settle([1])

        def mark_of_the_other_moved() -> bool:
            committed = log.committed("flow", TopicPartition(other, NUMBER))
            return committed is not None and decode_mark(committed.metadata)[0] > at

        wait_until(mark_of_the_other_moved, 5, "the next round of marks")
        assert committed_ends(log)[0] <= at
    with started(log, flow) as settling:
        assert offsets(handed_out(settling)) == [0]


def test_a_start_that_reads_nothing_yet_leaves_the_mark_where_the_outcomes_are(log):
    other = topics.ready(topics.Stream.MARKETING)
    flow = spec(shares={READY: 1, other: 1})
    fill(log, 2)
    at = outcome(log, topics.EVENTS, 1)
    with started(log, flow):  # and no source is built: Bytewax is slow, or the process ends
        wait_until(lambda: log.committed("flow", TopicPartition(other, NUMBER)), 5, "a commit")
        wait_until(lambda: committed_ends(log), 5, "a commit of this partition")
        asked_at = clock.monotonic()
        wait_until(lambda: clock.monotonic() - asked_at > 1, 5, "further rounds of marks")
        assert committed_ends(log)[0] <= at
    with started(log, flow) as settling:
        assert offsets(handed_out(settling)) == [0]


def test_records_that_weigh_much_fill_the_process_whatever_partition_they_are_of(log):
    other = TopicPartition(RETRY, NUMBER)
    fill(log, 3)
    fill(log, 3, other)
    heavy = spec(shares={READY: 1, RETRY: 1}, window_bytes=20, weight=lambda _record: 10)
    with started(log, heavy) as settling:
        assert offsets(handed_out(settling)) == [0, 1]
        assert settling.full
        assert handed_out(settling, other) == []
        settling.settler(SOURCE).settle([0])
        assert offsets(handed_out(settling, other)) == [0]
        assert settling.full
        assert [settling.settler(tp).unsettled_bytes for tp in (SOURCE, other)] == [10, 10]


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (b"", 1),
        (b'{"from":"a@b.c","to":"d@e.f"}', 1),
        (b'{"from":"a@b.c","to":["d@e.f","g@h.i"],"bcc":"j\\u0040k.l"}', 3),
        (b'{"from":"a@b.c","text":"' + b"@" * 1_000 + b'"}', 50),
    ],
)
def test_a_request_weighs_what_its_recipients_get(value, messages):
    record = Record(topics.REQUESTED[0], 0, 0, None, value, (), 0)
    assert rendered_bytes(record) == len(value) * messages


def test_no_more_is_handed_out_than_the_window_holds(log):
    fill(log, 10)
    with started(log, spec(window_records=4)) as settling:
        assert offsets(handed_out(settling)) == [0, 1, 2, 3]
        settling.settler(SOURCE).settle([0, 1])
        source = LogSource(settling, Running(), one_outcome=True)
        part = source.build_part("log", f"{READY}/{NUMBER}", None)
        assert offsets(part.next_batch()) == [4, 5]
        assert part.next_batch() == []


def test_a_delay_topic_holds_a_record_no_longer_where_the_clock_was_set_back(log, monkeypatch):
    fill(log, 2)
    now_ms, monotonic_s = clock.now_ms() - 3_600_000, clock.monotonic()
    monkeypatch.setattr(clock, "now_ms", lambda: now_ms)
    monkeypatch.setattr(clock, "monotonic", lambda: monotonic_s)
    with started(log, spec(hold_ms={READY: 60_000})) as settling:
        source = LogSource(settling, Running(), one_outcome=True)
        part = source.build_part("log", f"{READY}/{NUMBER}", None)
        assert part.next_batch() == []
        monotonic_s += 59
        assert part.next_batch() == []
        monotonic_s += 1
        assert len(part.next_batch()) == 2
        part.close()


def test_a_delay_topic_holds_a_record_for_its_time(log):
    fill(log, 1)
    (record,) = log.scan(SOURCE, 0, 1)
    with started(log, spec(hold_ms={READY: 2_000})) as settling:
        source = LogSource(settling, Running(), one_outcome=True)
        part = source.build_part("log", f"{READY}/{NUMBER}", None)
        assert part.next_batch() == []
        assert offsets(wait_until(part.next_batch, 20, "the record")) == [0]
        assert clock.now_ms() >= record.stamp_ms + 2_000


def test_a_record_is_settled_when_all_its_outcomes_are_durable(log):
    fill(log, 2)
    with started(log) as settling:
        handed_out(settling)
        writer = OutcomeWriter(settling)
        done: list[str] = []
        source = Position(READY, NUMBER, 0)
        entry = Entry(NUMBER, b"k", b"", (("src", source_header(source)),))
        writer.write(
            [(topics.EVENTS, [entry]), (RETRY, [entry])], [source], lambda: done.append("called")
        )
        wait_until(lambda: settling.acks, 5, "the acknowledgement")
        assert log.end_offset(TopicPartition(topics.EVENTS, NUMBER)) == 1
        assert log.end_offset(TopicPartition(RETRY, NUMBER)) == 1
        process = Running()
        ((home, settled),) = AcksSource(settling, process).build("acks", 0, 1).next_batch()
        assert settled == Settled(SOURCE, (0,))
        sink = SettleSink(settling, process)
        part = sink.list_parts()[sink.part_fn(home)]
        sink.build_part("settle", part, None).write_batch([settled])
        assert settling.settler(SOURCE).watermark == 1
        assert writer.pending == 0
        assert done == ["called"]


def test_a_record_without_outcomes_is_settled_at_once(log):
    fill(log, 1)
    with started(log) as settling:
        source = Position(READY, NUMBER, 0)
        OutcomeWriter(settling).write([], [source])
        assert list(settling.acks) == [source]


def test_a_source_ends_when_the_process_drains(log):
    fill(log, 1)
    with started(log) as settling:
        process = Running()
        log_part = LogSource(settling, process, one_outcome=True).build_part(
            "log", f"{READY}/{NUMBER}", None
        )
        acks = AcksSource(settling, process).build("acks", 0, 1)
        assert len(log_part.next_batch()) == 1
        assert acks.next_batch() == []
        process.stop()
        settling.acks.append(Position(READY, NUMBER, 0))
        with pytest.raises(StopIteration):
            log_part.next_batch()
        assert acks.next_batch() == [(process.peers.home, Settled(SOURCE, (0,)))]
        with pytest.raises(StopIteration):
            acks.next_batch()
