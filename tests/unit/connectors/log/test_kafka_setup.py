"""The topics of an installation in a real Kafka: made at a start, looked at, mended when asked."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from connectors.log import KafkaSettings
from connectors.log.flow_spec import FlowSpec
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.setup import apply, found_differences, set_up
from connectors.log.port import Committed, Entry, TopicPartition
from connectors.log.settle import BEGUN, decode_stand, encode_mark
from connectors.log.settling import Settling
from sealwax.errors import ConfigurationError
from sealwax.model import topics
from sealwax.policy.topic_layout import MOST_PARTITIONS
from tests.support.kafka import Cluster, namespace
from tests.support.waiting import wait_until

PARTITIONS = 2
READY = topics.READY[0]
OTHER = topics.REQUESTED[0]


@pytest.fixture
def settings(kafka: Cluster) -> KafkaSettings:
    return KafkaSettings(kafka.bootstrap, namespace(), partitions=PARTITIONS)


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    opened = KafkaLog(settings)
    yield opened
    opened.close()


def described(log: KafkaLog) -> dict[str, tuple[int, dict[str, str]]]:
    """Partitions and properties of all topics."""
    names = [spec.name for spec in topics.ALL_OF_KAFKA]
    found = log.topics.describe(names)
    return {name: (one.partitions, dict(one.config)) for name, one in found.items()}


DIFFERENCES = [
    (topics.EVENTS, "retention.ms", "60000"),
    (READY, "retention.bytes", "1000000"),
    (OTHER, "cleanup.policy", "compact"),
    (topics.CONTROL, "cleanup.policy", "delete"),
    (topics.RETRY[0], "message.timestamp.type", "CreateTime"),
    (topics.DEAD, "max.message.bytes", "1000000"),
    (topics.EVENTS, "unclean.leader.election.enable", "true"),
    (topics.CONTROL, "delete.retention.ms", "86400000"),
]


@pytest.mark.parametrize(("topic", "what", "value"), DIFFERENCES)
def test_a_start_refuses_a_topic_that_is_set_otherwise_and_apply_mends_it(
    settings, log, topic, what, value
):
    set_up(settings, log)
    right = described(log)
    log.topics.configure(topic, {what: value})
    with pytest.raises(ConfigurationError) as refused:
        set_up(settings, log)
    for named in (
        f"topic {settings.namespace}{topic} has {what} {value!r}",
        "sealwax topics apply",
    ):
        assert named in str(refused.value)
    changed = {**right[topic][1], what: value}
    assert described(log) == {**right, topic: (PARTITIONS, changed)}  # a start changes nothing
    assert list(apply(log)) == [f"{topic}: {what} {value!r} -> {right[topic][1][what]!r}"]
    set_up(settings, log)
    assert described(log) == right
    assert list(apply(log)) == []


def test_a_start_refuses_topics_of_different_numbers_of_partitions_and_apply_levels_them(
    settings, log
):
    set_up(settings, log)
    log.topics.grow(topics.EVENTS, 3)
    more = len(topics.ALL_OF_KAFKA) - 2
    with pytest.raises(ConfigurationError, match=f"partitions '2' and needs '3', and {more} more"):
        set_up(settings, log)
    assert described(log)[topics.DEAD][0] == 2
    assert len(list(apply(log))) == len(topics.ALL_OF_KAFKA) - 1
    set_up(settings, log)
    assert {number for number, _ in described(log).values()} == {3}


def test_a_start_with_another_number_of_partitions_takes_the_topics_as_they_are(settings, log):
    set_up(settings, log)
    right = described(log)
    with_more = KafkaLog(replace(settings, partitions=PARTITIONS + 3))
    set_up(with_more.settings, with_more)
    assert described(log) == right
    with_more.close()


def test_a_topic_that_a_newer_version_adds_has_as_many_partitions_as_the_others(
    settings, log, kafka
):
    admin = kafka.admin()
    set_up(settings, log)
    full = settings.namespace + topics.BODY
    admin.delete_topics([full])[full].result(20)
    wait_until(lambda: topics.BODY not in described(log), 20, "the topic to be gone")
    newer = KafkaLog(replace(settings, partitions=PARTITIONS + 3))
    set_up(newer.settings, newer)
    assert newer.partitions(topics.BODY) == PARTITIONS
    newer.close()


def test_topics_with_more_partitions_than_a_mark_can_name_are_refused(settings, log):
    log.topics.create([topics.TopicSpec(READY)], MOST_PARTITIONS + 1)
    with pytest.raises(ConfigurationError, match="have 257 partitions and may have 256"):
        set_up(settings, log)
    assert set(described(log)) == {READY}


def test_two_starts_at_once_make_the_topics_once(settings):
    logs = [KafkaLog(settings) for _ in range(2)]
    errors = []

    def start(log: KafkaLog) -> None:
        try:
            set_up(settings, log)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    names = [spec.name for spec in topics.ALL_OF_KAFKA]
    first, second = ([log.incarnation(name) for name in names] for log in logs)
    assert first == second
    assert not found_differences(logs[0])
    for log in logs:
        log.close()


def test_apply_makes_what_is_missing_and_never_takes_partitions_away(settings, log):
    log.topics.create([topics.TopicSpec(topics.EVENTS)], 3, {"retention.ms": "60000"})
    with pytest.raises(ConfigurationError, match="do not get fewer"):
        next(apply(log, 2))
    assert set(described(log)) == {topics.EVENTS}
    changes = list(apply(log))
    assert f"{READY}: made" in changes
    assert any(change.startswith(f"{topics.EVENTS}: retention.ms") for change in changes)
    assert {number for number, _ in described(log).values()} == {3}
    set_up(settings, log)


# A flow as render: outcomes go to all partitions of a topic.
def spec(log: KafkaLog) -> FlowSpec:
    return FlowSpec(
        "flow",
        {OTHER: 1},
        lambda number: [
            TopicPartition(topics.EVENTS, number),
            *(TopicPartition(READY, n) for n in range(log.partitions(READY))),
        ],
    )


def grown(log: KafkaLog) -> None:
    """A flow has worked on its two partitions and let go of outcomes; then there are three."""
    set_up(log.settings, log)
    source, ready = TopicPartition(OTHER, 0), TopicPartition(READY, 0)
    log.append_wait(OTHER, [Entry(0, None, b"v")] * 5)
    log.append_wait(READY, [Entry(0, None, b"v")] * 5)
    log.delete_before(ready, 4)
    log.commit("flow", {source: Committed(3, encode_mark((0, 5, 0)))})
    log.commit("analytics", {TopicPartition(topics.EVENTS, 0): Committed(0, "17")})
    assert sum("partitions '2' -> '3'" in change for change in apply(log, 3)) == len(
        topics.ALL_OF_KAFKA
    )
    fill_anew(log, 2)


def fill_anew(log: KafkaLog, partition: int) -> None:
    """Appends a record, as a process does that starts now; others know fewer partitions a while."""
    later = KafkaLog(log.settings)
    later.append_wait(OTHER, [Entry(partition, None, b"v")])
    later.close()


def test_a_flow_goes_on_in_its_old_partitions_and_begins_in_new_ones(log):
    grown(log)
    new = TopicPartition(OTHER, 2)
    begun = log.committed("flow", new)
    assert begun is not None
    assert decode_stand(begun.metadata) == BEGUN
    settling = Settling(log, spec(log), [0, 1, 2], timer=False)
    assert settling.stopped == {}
    assert settling.settler(new).watermark == 0
    settling.close()
    assert log.committed("analytics", TopicPartition(topics.EVENTS, 2)) is None


def test_without_apply_an_old_partition_that_lost_its_offset_still_stops(log):
    grown(log)
    fill_anew(log, 1)
    settling = Settling(log, spec(log), [0, 1, 2], timer=False)
    assert list(settling.stopped) == [TopicPartition(OTHER, 1)]
    settling.close()
