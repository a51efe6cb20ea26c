"""A Kafka broker that accepts connections and never answers: every wait ends in time.

It is a real one that is stopped (SIGSTOP). The table of outcomes is in docs/operations.md.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from connectors.log import KafkaSettings, open_log
from connectors.log.port import Committed, Entry, Log, TopicPartition
from sealwax.api.appends import Appends
from sealwax.api.problems import LOG_AWAY, NOT_CONFIRMED, problem_of
from sealwax.errors import LogAwayError, NotConfirmedError
from sealwax.model.topics import TopicSpec
from tests.support.kafka import Cluster, namespace, running_kafka
from tests.support.waiting import ends_within, wait_until

TOPIC = "orders"
TP = TopicPartition(TOPIC, 0)


@dataclass
class Hanging:
    cluster: Cluster

    @contextmanager
    def hangs(self) -> Iterator[None]:
        (broker,) = self.cluster.brokers
        broker.send(signal.SIGSTOP)
        try:
            yield
        finally:
            broker.send(signal.SIGCONT)
            broker.wait_until_up()

    @contextmanager
    def log(self, *, gives_up: bool) -> Iterator[Log]:
        """With a topic whose partitions it knows, as a process that runs does."""
        second = timedelta(seconds=1)
        settings = KafkaSettings(
            self.cluster.bootstrap, namespace(), partitions=1, timeout=second, gives_up=gives_up
        )
        with closing(open_log(replace(settings, timeout=20 * second))) as maker:
            maker.create_topics([TopicSpec(TOPIC)])
        with closing(open_log(settings)) as made:
            wait_until(lambda: _partitions(made) == 1, 30, "the topic")
            yield made


@pytest.fixture(scope="module")
def hanging_kafka() -> Iterator[Hanging]:
    with running_kafka() as cluster:
        yield Hanging(cluster)


def _appended(log: Log, value: bytes) -> bool:
    with suppress(LogAwayError, NotConfirmedError):
        return bool(log.append_wait(TOPIC, [Entry(0, b"k", value)]))
    return False


def _partitions(log: Log) -> int:
    with suppress(LogAwayError):
        return log.partitions(TOPIC)
    return 0


def _values(log: Log) -> list[bytes | None]:
    with suppress(LogAwayError):
        return [record.value for record in log.scan(TP, 0, log.end_offset(TP))]
    return []


def test_requests_to_a_broker_that_hangs_are_told_what_is_true_once_it_goes_on(hanging_kafka):
    async def ask(log: Log) -> list[object]:
        appends = Appends(log, timedelta(seconds=30))
        first = asyncio.create_task(appends.append(TOPIC, [Entry(0, b"k", b"1")]))
        await asyncio.sleep(0.2)  # so that the second waits for the first one's append
        second = appends.append(TOPIC, [Entry(0, b"k", b"2")])
        return list(await asyncio.gather(first, second, return_exceptions=True))

    with hanging_kafka.log(gives_up=True) as log:
        # A client that does not know the topic would send nothing.
        wait_until(lambda: _appended(log, b"0"), 30, "an append")
        with hanging_kafka.hangs(), ends_within(20):
            sent, behind = asyncio.run(ask(log))
        assert isinstance(sent, NotConfirmedError)
        assert problem_of(sent).problem.type == f"/problems/{NOT_CONFIRMED.slug}"
        assert isinstance(behind, LogAwayError)
        assert problem_of(behind).problem.type == f"/problems/{LOG_AWAY.slug}"
        wait_until(lambda: b"1" in _values(log), 30, "the record that stood in the socket")
        assert b"2" not in _values(log)


def test_flows_wait_for_a_broker_that_hangs_and_nothing_is_lost(hanging_kafka):
    results: list[object] = []
    with hanging_kafka.log(gives_up=False) as log:
        with hanging_kafka.hangs():
            log.append(TOPIC, [Entry(0, b"k", b"1")], results.append)
            time.sleep(3)  # three times the timeout
            assert not results
        wait_until(lambda: results, 30, "the append")
        assert results == [[0]]


def test_questions_to_a_broker_that_hangs_fail_in_time(hanging_kafka):
    with hanging_kafka.log(gives_up=False) as log, hanging_kafka.hangs():
        for question in (
            lambda: log.committed("g", TP),
            lambda: log.commit("g", {TP: Committed(1)}),
            lambda: log.end_offsets([TP]),
            lambda: log.lag("g", TP),
            lambda: list(log.scan(TP, 0, 1)),
        ):
            with ends_within(20), pytest.raises(LogAwayError):
                question()
