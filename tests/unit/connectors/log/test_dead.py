"""Records of email.dead: what they keep, whatever their senders wrote into them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import Dead, append_dead, dead_entry, read_dead, row_of_dead
from connectors.log.fences import Writer, fence_entry
from connectors.log.flow_spec import FlowSpec
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Headers, Log, Record, TopicPartition, size_of
from connectors.log.replay import ReplayRefusedError, dead_records, refuse, replay, replayed
from connectors.log.settling import Settling
from sealwax.errors import RecordTooLargeError, UnreadableRecordError
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
        ("cut", b"all of it"),
    )
    dead = read_dead(buried(log, record(headers=forged)))
    assert (dead.reason, dead.tenant_id, dead.source) == ("bad_request", "t", (*SOURCE, 7))
    assert (dead.body, dead.cut) == (None, "")
    was_source = ("was-src", forged[5][1])
    assert dead.headers == (*forged[:4], ("api-key", b"redacted"), was_source, *forged[6:])


def test_a_producer_cannot_make_a_dead_record_a_fence_or_one_of_an_older_writer(log):
    forged: Headers = (("fence", b"render/1/9999999999"), ("writer", b"render/1/1"))
    no_key = record(b"", forged)._replace(key=None)
    log.append_wait(topics.DEAD, [fence_entry(1, Writer("render", 1, 2))])
    append_dead(log, dead_entry(no_key, "bad_request", "d", flow="render"))
    mine = dead_entry(record(), "bad_request", "d", flow="render")
    signed = mine._replace(headers=(*mine.headers, Writer("render", 1, 2).header()))
    log.append_wait(topics.DEAD, [signed])
    assert [one.headers for one in dead_records(log, DEAD) if isinstance(one, Dead)] == [
        (("was-fence", b"render/1/9999999999"), ("was-writer", b"render/1/1")),
        (),
    ]


LARGE: list[tuple[bytes | None, Headers, str]] = [
    (b"k", (("x", b"1" * 10_000_000), ("y", b"2")), "header 'x' with 10,000,000 bytes"),
    (b"k" * 10_000_000, (("y", b"2"),), "the key with 10,000,000 bytes"),
    (
        b"k" * 70_000,
        (("n" * 70_000, b""), ("y", b"2")),
        f"the key with 70,000 bytes, header '{'n' * 80}' with 0 bytes",
    ),
    (
        None,
        (*((f"h{n}", b"") for n in range(100_000)), ("y", b"2")),
        "header 'h0' with 0 bytes, header 'h1' with 0 bytes, ",
    ),
]


@pytest.mark.parametrize(("key", "headers", "cut"), LARGE, ids=["header", "key", "name", "number"])
def test_key_and_headers_that_are_too_large_are_cut_and_the_dead_record_says_so(
    log, key, headers, cut
):
    kept = buried(log, record(b"v" * 600_000, headers)._replace(key=key))
    assert size_of(kept) < 70_000
    dead = read_dead(kept)
    assert dead.cut.startswith(cut)
    assert len(dead.cut) < 2_000
    assert dead.headers[-1] == ("y", b"2")
    assert dead.value(log) == b"v" * 600_000
    with pytest.raises(ReplayRefusedError, match=r"is not kept whole, it lacks (the key|header)"):
        replay(log, dead)


def test_key_and_headers_of_64_kib_are_kept_whole(log):
    headers: Headers = tuple((f"{n:04}", b"v" * 12) for n in range(1_000))
    whole = record(headers=headers)._replace(key=b"k" * (65_536 - 32_000))
    dead = read_dead(buried(log, whole))
    assert (dead.cut, dead.key, dead.headers) == ("", whole.key, headers)


def test_a_replay_of_a_value_that_is_lost_or_too_large_for_its_topic_is_refused(log, monkeypatch):
    dead = read_dead(buried(log, record(b"x" * 600_000)))

    def refuses(*_: object) -> None:
        raise RecordTooLargeError(
            "a record of 600000 bytes is larger than the 5 that a topic takes"
        )

    with monkeypatch.context() as patched:
        patched.setattr(log, "append_wait", refuses)
        with pytest.raises(ReplayRefusedError, match="larger than the 5"):
            replay(log, dead)
    assert dead.body
    lost = replace(dead, body=dead.body._replace(offset=dead.body.offset + 1))
    with pytest.raises(ReplayRefusedError, match="cannot be read back"):
        replay(log, lost)


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
