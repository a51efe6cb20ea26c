"""Reading ready and retry records into lanes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import header
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Headers, Log, Record, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import NOTHING_DONE, SourceItem
from connectors.records import encode_deliveries, message_header, row_of
from connectors.smtp.leases import Leases
from flows import dispatch
from flows.operators.read import ReadDeliveries
from sealwax.model import topics
from sealwax.model.delivery import Position
from tests.support.deliveries import READY, delivery
from tests.support.waiting import wait_until

TEN_SECONDS = topics.retry(topics.Stream.TRANSACTIONAL, "10s")
MINUTE = topics.retry(topics.Stream.TRANSACTIONAL, "1m")


@pytest.fixture
def settling(tmp_path: Path) -> Iterator[Settling]:
    log: Log = open_log(LogSettings(tmp_path / "log", 1))
    log.create_topics(topics.ALL)
    made = Settling(log, dispatch.spec(), [0])
    yield made
    made.close()
    log.close()


def item(offset: int, value: bytes | None, topic: str = READY, headers: Headers = ()) -> SourceItem:
    return SourceItem(Record(topic, 0, offset, b"k", value, headers, 1_000), NOTHING_DONE)


def reading(
    settling: Settling,
    site: Callable[[str], str] = str,
    not_held: Mapping[str, int] = {},
) -> ReadDeliveries:
    writer = OutcomeWriter(settling)
    leases = Leases(settling, writer, "holder")
    return ReadDeliveries(
        lambda queued: queued._replace(site=site(queued.delivery.rcpt_domain)),
        not_held,
        writer,
        leases,
    )


def test_a_message_whose_site_is_not_known_is_left_to_who_looks_it_up(settling):
    writer, waiting = OutcomeWriter(settling), []
    leases = Leases(settling, writer, "holder")
    read = ReadDeliveries(lambda queued: waiting.append(queued), {}, writer, leases)  # noqa: PLW0108 - None
    (value,) = encode_deliveries([(delivery(rcpt_domain="a.test"), b"")])
    assert read([item(0, value)]) == []
    assert [queued.delivery.rcpt_domain for queued in waiting] == ["a.test"]


def test_messages_are_keyed_by_the_site_of_their_domain(settling):
    read = reading(settling, {"a.test": "one", "b.test": "one"}.__getitem__)
    values = encode_deliveries([(delivery(rcpt_domain=d), b"") for d in ("a.test", "b.test")])
    messages = read([item(n, value) for n, value in enumerate(values)])
    assert [(site, queued.site, queued.source.offset) for site, queued in messages] == [
        ("one", "one", 0),
        ("one", "one", 1),
    ]
    assert [queued.delivery.rcpt_domain for _, queued in messages] == ["a.test", "b.test"]


@pytest.mark.parametrize(("topic", "due_ms"), [(READY, 0), (MINUTE, 0), (TEN_SECONDS, 11_000)])
def test_a_record_that_its_topic_did_not_hold_is_due_by_its_stamp(settling, topic, due_ms):
    read = reading(settling, not_held={TEN_SECONDS: 10_000})
    (value,) = encode_deliveries([(delivery(due_ms=77), b"")])
    ((_, queued),) = read([item(0, value, topic)])
    assert queued.due_ms == due_ms


@pytest.mark.parametrize("bad", [b"", None, b"no delivery"])
def test_what_cannot_be_read_goes_to_the_dead_and_holds_up_no_other(settling, bad):
    read = reading(settling)
    (good,) = encode_deliveries([(delivery(), b"")])
    messages = read([item(0, good), item(1, bad), item(2, good)])
    assert [queued.source.offset for _, queued in messages] == [0, 2]
    wait_until(lambda: settling.acks, 5, "the acknowledgement")
    assert list(settling.acks) == [Position(READY, 0, 1)]
    (dead,) = settling.log.scan(TopicPartition(topics.DEAD, 0), 0, 1)
    assert dead.value == bad
    assert header(dead.headers, "reason")
    assert header(dead.headers, "src") == f"{READY}/0/1".encode()


def test_a_record_that_kills_the_process_is_put_aside_undecoded(settling):
    read = reading(settling)
    (good,) = encode_deliveries([(delivery(), b"")])
    messages = read([item(0, good), item(1, good)._replace(crashed=True)])
    assert [queued.source.offset for _, queued in messages] == [0]
    wait_until(lambda: settling.acks, 5, "the acknowledgement")
    (dead,) = settling.log.scan(TopicPartition(topics.DEAD, 0), 0, 1)
    assert header(dead.headers, "reason") == b"crashed"


@pytest.mark.parametrize("topic", [READY, MINUTE])
@pytest.mark.parametrize("crashed", [True, False])
def test_a_message_that_cannot_be_processed_has_an_end_in_its_timeline(settling, topic, crashed):
    mail = delivery(rcpt="a/b@d.test", rcpt_index=3)
    bad = item(0, b"no delivery", topic, (message_header(mail),))._replace(crashed=crashed)
    assert reading(settling)([bad]) == []
    wait_until(lambda: settling.acks, 5, "the acknowledgement")
    (dead,) = settling.log.scan(TopicPartition(topics.DEAD, 0), 0, 1)
    row = orjson.loads(row_of(dead))
    assert (row["tenant"], row["email_id"]) == (mail.tenant_id, mail.email_id)
    assert (row["rcpt"], row["rcpt_index"], row["rcpt_domain"]) == ("a/b@d.test", 3, "d.test")
    assert (row["kind"], row["stream"], row["alert"]) == ("failed", "transactional", True)
    assert header(dead.headers, "reason") == row["class"].encode()
    assert list(settling.log.scan(TopicPartition(topics.EVENTS, 0), 0, 9)) == []


OUT_OF_RANGE = [
    f"t/{delivery().email_id}/{index}/a@b.test".encode() for index in ("-1", "65536", "9" * 30)
]


@pytest.mark.parametrize(
    "named",
    [
        b"",
        b"t/e/0",
        b"t/no id/0/a@b.test",
        b"\xff/e/0/a",
        b"t/e/%s/a" % (b"9" * 5_000),
        *OUT_OF_RANGE,
    ],
)
def test_a_record_that_says_not_whose_it_is_is_put_aside_without_a_row(settling, named):
    reading(settling)([item(0, b"no delivery", headers=(("message", named),))])
    wait_until(lambda: settling.acks, 5, "the acknowledgement")
    (dead,) = settling.log.scan(TopicPartition(topics.DEAD, 0), 0, 1)
    assert row_of(dead) == b""
