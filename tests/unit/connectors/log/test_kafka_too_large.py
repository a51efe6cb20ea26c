"""What a topic never takes: put aside with its source, and nothing else waits for it."""

from collections.abc import Iterator
from contextlib import closing

import orjson
import pytest

from connectors.log import KafkaSettings, open_log
from connectors.log.dead import Dead, row_of_dead
from connectors.log.kafka.setup import set_up
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Committed, Entry, Headers, Log, TopicPartition
from connectors.log.replay import dead_record
from connectors.log.settle import source_header
from connectors.log.settling import Settling
from connectors.log.specs import render
from sealwax.errors import RecordTooLargeError
from sealwax.model import topics
from sealwax.model.delivery import Position
from sealwax.model.email_id import email_id
from tests.support.kafka import namespace
from tests.support.log_reading import everything
from tests.support.waiting import wait_until

REQUESTED, READY = topics.REQUESTED[0], topics.READY[0]
MOST = 600 << 10
HEADERS: list[Headers] = [
    (("x", b"x" * (1 << 20)),),
    (("x" * (1 << 20), b""),),
    tuple((f"{n}", b"") for n in range(100_000)),
]


@pytest.fixture
def log(kafka) -> Iterator[Log]:
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=1, max_record_bytes=MOST)
    with closing(open_log(settings)) as opened:
        set_up(settings, opened)
        # The client ends the process where it asks for offsets while their coordinator loads.
        opened.commit("render", {TopicPartition(topics.CONTROL, 0): Committed(0)})
        yield opened


@pytest.mark.parametrize("headers", HEADERS, ids=["value", "name", "number"])
def test_key_and_headers_count_as_much_as_a_value(log, headers):
    for entry in (Entry(0, b"k", b"v", headers), Entry(0, b"k" * (1 << 20), b"v")):
        with pytest.raises(RecordTooLargeError):
            log.append_wait(READY, [entry])
    assert log.end_offset(TopicPartition(READY, 0)) == 0


def test_an_outcome_that_its_topic_never_takes_is_a_dead_record_of_its_source(log):
    log.append_wait(REQUESTED, [Entry(0, b"k", b"first"), Entry(0, b"k", b"second")])
    sources = [Position(REQUESTED, 0, n) for n in range(2)]
    ident = email_id(1_000, b"x" * 32)

    def outcome(source: Position, index: int, value: bytes) -> Entry:
        message = ("message", f"acme/{ident}/{index}/ada@d0.test".encode())
        return Entry(0, b"d0.test", value, (("src", source_header(source, index)), message))

    large = outcome(sources[1], 0, b"x" * (MOST + 1))
    ready = [outcome(sources[0], 0, b"a"), large, outcome(sources[0], 1, b"b")]
    settling = Settling(log, render(log), [0])
    with closing(settling):
        writer = OutcomeWriter(settling)
        writer.write([(READY, ready), (topics.EVENTS, [ready[0]])], sources)
        wait_until(lambda: settling.acks, 30, "the acknowledgement")
        assert list(settling.acks) == sources
        assert not writer.pending
    assert {r.value for r in everything(log, TopicPartition(READY, 0))} == {b"a", b"b"}
    (kept,) = everything(log, TopicPartition(topics.DEAD, 0))
    dead = dead_record(log, 0, kept.offset)
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.flow, dead.source) == ("too_large", "render", sources[1])
    assert dead.value(log) == b"second"
    row = orjson.loads(row_of_dead(kept))
    assert (row["kind"], row["class"], row["rcpt"]) == ("failed", "too_large", "ada@d0.test")
