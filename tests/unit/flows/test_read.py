"""Reading ready and retry records into lanes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import header
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Log, Record, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import NOTHING_DONE, SourceItem
from connectors.records import encode_deliveries
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


def item(offset: int, value: bytes | None, topic: str = READY) -> SourceItem:
    return SourceItem(Record(topic, 0, offset, b"k", value, (), 1_000), NOTHING_DONE)


def reading(
    settling: Settling,
    site: Callable[[str], str] = str,
    not_held: Mapping[str, int] = {},
) -> ReadDeliveries:
    writer = OutcomeWriter(settling)
    return ReadDeliveries(site, not_held, writer, Leases(settling, writer, "holder"))


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
