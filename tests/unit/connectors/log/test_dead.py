"""Records of email.dead: what they keep, whatever their senders wrote into them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import append_dead, dead_entry, read_dead, row_of_dead
from connectors.log.flow_spec import FlowSpec
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Headers, Log, Record, TopicPartition
from connectors.log.replay import ReplayRefusedError, refuse, replay, replayed
from connectors.log.settling import Settling
from sealwax.errors import UnreadableRecordError
from sealwax.model import topics
from sealwax.model.delivery import Position
from tests.support.waiting import wait_until

REQUESTED = topics.requested(topics.Stream.MARKETING)
SOURCE = TopicPartition(REQUESTED, 1)
DEAD = TopicPartition(topics.DEAD, 1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", 2))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def record(value: bytes | None = b"value", headers: Headers = (), topic: str = REQUESTED) -> Record:
    return Record(topic, 1, 7, b"key", value, headers, 1_000)


def buried(log: Log, read: Record, reason: str = "bad_request", flow: str = "render") -> Record:
    append_dead(log, dead_entry(read, reason, "it is bad", flow=flow, tenant_id="t"))
    *_, last = log.scan(DEAD, 0, log.end_offset(DEAD))
    return last


@pytest.mark.parametrize("value", [None, b"", b"small", b"x" * (512 * 1024), b"x" * 3_000_000])
def test_a_value_of_any_size_comes_back(log, value):
    kept = buried(log, record(value))
    assert len(kept.value or b"") <= 512 * 1024
    assert read_dead(kept).value(log) == value


def test_a_large_value_is_stored_before_the_record_that_names_it(log):
    outputs = (topics.DEAD, topics.EVENTS)
    spec = FlowSpec("f", {REQUESTED: 1}, lambda n: [TopicPartition(t, n) for t in outputs])
    log.append_wait(REQUESTED, [Entry(1, b"k", b"v")])
    settling = Settling(log, spec, [1])
    writer = OutcomeWriter(settling)
    values = [b"a" * 2_000_000, b"small", b"b" * 600_000]
    entries = [dead_entry(record(v), "bad_request", "d", flow="render") for v in values]
    writer.write([(topics.DEAD, entries)], [Position(REQUESTED, 1, 0)])
    wait_until(lambda: settling.acks, 10, "the acknowledgement")
    assert not writer.pending
    dead = [read_dead(each) for each in log.scan(DEAD, 0, log.end_offset(DEAD))]
    assert [each.value(log) for each in dead] == values
    assert [each.body is None for each in dead] == [False, True, False]
    settling.close()


def test_headers_of_a_producer_are_kept_and_never_taken_for_ours(log):
    forged: Headers = (
        ("reason", b"none"),
        ("owner", b"root"),
        ("source-topic", b"email.ready.transactional"),
        ("body", b"1/0/1/" + b"0" * 64),
        ("api-key", b"secret"),
        ("src", b"email.requested.marketing/1/0"),
        ("x", b"\xff"),
    )
    dead = read_dead(buried(log, record(headers=forged)))
    assert (dead.reason, dead.tenant_id, dead.source) == ("bad_request", "t", (*SOURCE, 7))
    assert dead.body is None
    assert dead.headers == (*forged[:4], ("api-key", b"redacted"), forged[6])


@pytest.mark.parametrize(
    "headers", [(), (("reason", b"x"),), (("reason", b"x"), ("source-topic", b"t"))]
)
def test_what_no_flow_wrote_is_said_to_be_none(headers):
    with pytest.raises(UnreadableRecordError):
        read_dead(record(headers=headers, topic=topics.DEAD))


def test_a_replayed_record_stands_in_its_topic_as_it_was_and_names_the_dead_one(log):
    large = b"x" * 600_000
    dead = read_dead(buried(log, record(large, (("email-id", b"e"), ("grant", b"g")))))
    assert replayed(log, SOURCE) == {}
    where = replay(log, dead)
    (again,) = log.scan(SOURCE, 0, 1)
    assert again[3:6] == (
        b"key",
        large,
        (
            ("email-id", b"e"),
            ("grant", b"g"),
            ("first-position", f"{REQUESTED}/1/7".encode()),
            ("replay-of", b"email.dead/1/0"),
        ),
    )
    assert replayed(log, SOURCE) == {dead.at: where}
    second = read_dead(buried(log, again))
    where = replay(log, second)
    (third,) = log.scan(SOURCE, where.offset, where.offset + 1)
    assert third.headers == (*again.headers[:-1], ("replay-of", b"email.dead/1/1"))
    assert set(replayed(log, SOURCE)) == {dead.at, second.at}


def test_the_row_of_a_dead_record_is_the_one_that_its_flow_wrote(log):
    mine, forged = record(), record(headers=(("row", b"forged"),))
    assert row_of_dead(buried(log, forged)) == b""
    for read in (mine, forged):
        entry = dead_entry(read, "crashed", "it is bad", flow="dispatch", row=b"{}")
        append_dead(log, entry)
        *_, kept = log.scan(DEAD, 0, log.end_offset(DEAD))
        assert row_of_dead(kept) == b"{}"
        assert read_dead(kept).headers == read.headers


@pytest.mark.parametrize(
    ("topic", "reason", "flow"),
    [
        (REQUESTED, "unauthenticated", "render"),
        (topics.EVENTS, "not_a_row", "analytics"),
        (topics.RETRY[0], "unreadable", "analytics"),
        (topics.READY[0], "unreadable", "render"),
        (topics.CONTROL, "unreadable", "dispatch"),
        ("../../elsewhere", "x", "render"),
        (REQUESTED, "bad_request", ""),
    ],
)
def test_what_cannot_be_processed_again_is_refused(log, topic, reason, flow):
    dead = read_dead(buried(log, record(topic=topic), reason, flow))
    with pytest.raises(ReplayRefusedError):
        refuse(log, dead)
