"""Appends of which a real broker takes a part, or nothing: what is said of them, and to whom.

The broker refuses a record that is larger than its topic takes, and each partition's by itself.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from confluent_kafka.admin import NewTopic

from connectors.log import KafkaSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.producing import Appends
from connectors.log.port import Entry, TopicPartition
from sealwax.api.appends import Appends as RequestAppends
from sealwax.errors import LogAwayError, NotConfirmedError
from tests.support.kafka import Cluster, namespace
from tests.support.waiting import wait_until

TOPIC = "small"
SMALL, LARGE = b"x", bytes(5_000)


@pytest.fixture
def settings(kafka: Cluster) -> KafkaSettings:
    found = KafkaSettings(kafka.bootstrap, namespace(), partitions=2, compression="none")
    topic = NewTopic(found.namespace + TOPIC, 2, 1, config={"max.message.bytes": "2000"})
    admin = kafka.admin()  # its requests end with it
    admin.create_topics([topic])[topic.topic].result(30)
    return found


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    """Of a process that gives up."""
    opened = KafkaLog(replace(settings, gives_up=True))
    yield opened
    opened.close()


class Told:
    """What an append told its caller, and what would have ended the process."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.answers: list[object] = []
        self.fatal: list[str] = []
        self._topic = settings.namespace + TOPIC
        self._appends = Appends(settings, self.fatal.append)

    def append(self, *values: bytes) -> None:
        """One record to each partition in turn."""
        entries = [Entry(number, b"k", value) for number, value in enumerate(values)]
        self._appends.append(self._topic, entries, self.answers.append)
        wait_until(lambda: self.answers or self.fatal, 60, "what becomes of the append")

    def close(self) -> None:
        self._appends.close()


@pytest.fixture
def told(settings: KafkaSettings) -> Iterator[Callable[[bool], Told]]:
    opened: list[Told] = []

    def by(gives_up: bool) -> Told:
        opened.append(Told(replace(settings, gives_up=gives_up)))
        return opened[-1]

    yield by
    for one in opened:
        one.close()


@pytest.mark.parametrize("gives_up", [False, True])
def test_an_append_that_the_broker_refuses_as_a_whole_may_be_repeated(told, gives_up):
    one = told(gives_up)
    one.append(LARGE, LARGE)
    assert isinstance(one.answers[0], LogAwayError)
    assert not one.fatal


def test_a_flow_of_whose_append_a_part_is_stored_ends_and_does_not_append_it_once_more(told):
    one = told(False)
    one.append(SMALL, LARGE)
    assert "1 of 2 records" in one.fatal[0]
    assert not one.answers


def test_a_request_of_which_a_part_is_stored_is_told_that_it_is_not_known(told):
    one = told(True)
    one.append(SMALL, LARGE)
    assert isinstance(one.answers[0], NotConfirmedError)
    assert not one.fatal


def test_a_partition_that_takes_nothing_does_not_fail_requests_to_the_others(log):
    async def ask() -> list[object]:
        appends = RequestAppends(log, timedelta(seconds=60))
        asked = [appends.append(TOPIC, [Entry(n, b"k", v)]) for n, v in enumerate((SMALL, LARGE))]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    good, bad = asyncio.run(ask())
    assert good == [0]
    assert isinstance(bad, LogAwayError)
    assert log.end_offset(TopicPartition(TOPIC, 1)) == 0
