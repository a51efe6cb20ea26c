"""Leases: what stands for a message whose attempt takes long, in this process and after it."""

from collections.abc import Container, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.log import LogSettings, open_log
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Headers, Log, Record, TopicPartition
from connectors.log.settle import source_header
from connectors.log.settling import Settling
from connectors.log.source import NOTHING_DONE, SourceItem
from connectors.records import decode_deliveries, row_of
from connectors.smtp.bridge import SmtpBridge
from connectors.smtp.items import Queued
from connectors.smtp.leases import HEADER, Lease, Leases, lease_of
from flows import dispatch
from flows.operators.read import ReadDeliveries
from sealwax import clock
from sealwax.model import topics
from sealwax.model.delivery import Delivery, Position
from sealwax.smtp.route import Routes
from tests.support.deliveries import OK, READY, START_MS, queued, result, send
from tests.support.waiting import wait_until

MINUTES = [topics.retry(topics.Stream.TRANSACTIONAL, delay) for delay in ("1m", "5m")]
SENT = send(queued(3), attempt=2)
SOURCE = SENT.queued.source


class Dispatch:
    """A dispatch process as far as leases concern it."""

    def __init__(self, log: Log, holder: str, others: Container[str] = ()) -> None:
        self.log = log
        self.settling = Settling(log, dispatch.spec(), [0])
        writer = OutcomeWriter(self.settling)
        self.leases = Leases(self.settling, writer, holder, others)
        self.bridge = SmtpBridge(writer, Routes(), self.leases)
        self._read = ReadDeliveries(
            lambda queued: queued._replace(site=queued.delivery.rcpt_domain),
            {},
            writer,
            self.leases,
        )

    def records(self, topic: str) -> list[Record]:
        tp = TopicPartition(topic, 0)
        return list(self.log.scan(tp, 0, self.log.end_offset(tp)))

    def read(self, *records: Record) -> list[Queued]:
        return [
            message for _, message in self._read([SourceItem(r, NOTHING_DONE) for r in records])
        ]

    def grant(self, wait_ms: int) -> Record:
        """The lease for SENT, when it is durable."""
        acks = len(self.settling.acks)
        self.bridge.on_hanging(self.bridge.job(SENT), clock.now_ms() + wait_ms)
        wait_until(lambda: len(self.settling.acks) > acks, 5, "the lease")
        return next(reversed([r for topic in MINUTES for r in self.records(topic)]))

    def deliver(self) -> None:
        self.bridge.on_result(self.bridge.job(SENT), result(OK, START_MS)).result(timeout=5)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = open_log(LogSettings(tmp_path / "log", 1))
    made.create_topics(topics.ALL)
    yield made
    made.close()


@pytest.fixture
def process(log: Log) -> Iterator[Dispatch]:
    made = Dispatch(log, "this")
    yield made
    made.settling.close()


@pytest.fixture
def successor(log: Log) -> Iterator[Dispatch]:
    made = Dispatch(log, "next")
    yield made
    made.settling.close()


def position(record: Record) -> Position:
    return Position(record.topic, record.partition, record.offset)


@pytest.mark.parametrize(("wait_ms", "topic"), [(570_000, MINUTES[1]), (0, MINUTES[0])])
def test_a_lease_settles_the_record_and_carries_the_message_without_a_row(process, wait_ms, topic):
    record = process.grant(wait_ms)
    assert list(process.settling.acks) == [SOURCE]
    assert record.topic == topic
    assert row_of(record) == b""
    (delivery,) = decode_deliveries([record.value or b""])
    assert isinstance(delivery, Delivery)
    assert (delivery.attempt, delivery.message) == (2, SENT.queued.delivery.message)
    assert delivery.due_ms == delivery.since_ms + topics.DELAY_OF[topic]
    since_accept_ms = sum(wait.ms for wait in delivery.waits)
    assert since_accept_ms == delivery.since_ms - SENT.granted_ms + sum(w.ms for w in SENT.waits)
    assert process.leases.granted == 1


def test_while_the_attempt_goes_on_a_further_lease_follows(process):
    first = process.grant(0)
    assert process.read(first) == []
    wait_until(lambda: position(first) in process.settling.acks, 5, "the first lease to be settled")
    second = process.records(MINUTES[0])[1]
    held, again = lease_of(first), lease_of(second)
    assert held
    assert held == again
    assert process.leases.granted == 1


def test_a_lease_whose_attempt_ended_is_settled_without_an_append(process):
    first = process.grant(0)
    process.deliver()
    assert process.read(first) == []
    assert position(first) in process.settling.acks
    assert len(process.records(MINUTES[0])) == 1


def test_after_a_crash_a_message_without_an_outcome_is_sent_again_in_doubt(process, successor):
    (again,) = successor.read(process.grant(600_000))
    assert again.in_doubt
    assert again.delivery.attempt == 2
    assert again.delivery.not_before_ms <= clock.now_ms()
    assert again.source not in successor.settling.acks
    assert successor.leases.lost == 1
    attempt = SENT._replace(queued=again)
    successor.bridge.on_result(successor.bridge.job(attempt), result(OK, START_MS)).result(5)
    (row,) = successor.records(topics.EVENTS)
    assert b'"in_doubt":true' in (row.value or b"")


def test_after_a_crash_an_outcome_that_stands_is_enough(process, successor):
    record = process.grant(0)
    process.deliver()
    assert successor.read(record) == []
    assert list(successor.settling.acks) == [position(record)]
    assert successor.leases.lost == 0


def test_in_a_cluster_an_attempt_of_another_process_goes_on_until_its_outcome_stands(process, log):
    owner = Dispatch(log, "owner", {"this"})
    first = process.grant(0)
    assert owner.read(first) == []
    wait_until(lambda: position(first) in owner.settling.acks, 5, "the first lease to be settled")
    second = process.records(MINUTES[0])[1]
    assert lease_of(second) == lease_of(first)
    process.deliver()
    assert owner.read(second) == []
    assert position(second) in owner.settling.acks
    assert len(process.records(MINUTES[0])) == 2
    assert owner.leases.lost == 0
    owner.settling.close()


def test_a_lease_is_no_outcome_of_the_message_that_it_stands_for(process, successor):
    first = process.grant(0)
    process.read(first)
    wait_until(lambda: len(process.records(MINUTES[0])) == 2, 5, "the second lease")
    again = successor.read(process.records(MINUTES[0])[1])
    assert [message.in_doubt for message in again] == [True]


def test_an_outcome_of_another_message_is_none(process, successor, log):
    record = process.grant(0)
    others = [Position(READY, 0, SOURCE.offset + 1), Position(MINUTES[0], 0, SOURCE.offset)]
    entries = [Entry(0, b"k", b"{}", (("src", source_header(other)),)) for other in others]
    log.append_wait(topics.EVENTS, [*entries, Entry(0, b"k", b"{}", (("src", b"\xff/0/x"),))])
    assert len(successor.read(record)) == 1


def test_an_outcome_from_before_the_marks_layout_changed_is_found(process, successor):
    record = process.grant(0)
    process.deliver()
    lease = lease_of(record)
    assert lease
    headers = (record.headers[0], lease._replace(ends=(7,)).header())
    assert successor.read(record._replace(headers=headers)) == []


@given(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode)))
def test_a_header_that_is_no_lease_is_none(value: bytes):
    headers: Headers = ((HEADER, value),)
    assert lease_of(Record(READY, 0, 0, b"k", b"", headers, 0)) is None


@given(
    st.text(alphabet="0123456789abcdef", min_size=1, max_size=32),
    st.integers(0, 2**60),
    st.lists(st.integers(0, 2**60), max_size=20).map(tuple),
)
def test_a_lease_is_read_as_it_was_written(holder, offset, ends):
    lease = Lease(holder, Position(READY, 3, offset), ends)
    assert lease_of(Record(READY, 0, 0, b"k", b"", (lease.header(),), 0)) == lease
