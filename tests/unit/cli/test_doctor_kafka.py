"""`sealwax doctor` on a real Kafka broker."""

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from connectors.clickhouse.ranges import Range
from connectors.log import KafkaSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from connectors.log.kafka.setup import set_up
from connectors.log.looking import partitions_of
from connectors.log.port import Committed, Entry, TopicPartition
from connectors.log.settle import Stand, encode_stand
from connectors.log.specs import dispatch
from connectors.smtp.leases import Lease
from sealwax.model import topics
from sealwax.model.delivery import Position
from tests.support.kafka import Cluster, free_ports, namespace

PARTITIONS = 2
READY = TopicPartition(topics.READY[0], 1)
RETRY = TopicPartition(topics.retry(topics.Stream.TRANSACTIONAL, "5m"), 0)
OUTPUTS = len(dispatch().outputs(0))


@pytest.fixture
def settings(kafka: Cluster) -> KafkaSettings:
    return KafkaSettings(kafka.bootstrap, namespace(), partitions=PARTITIONS)


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    with closing(KafkaLog(settings)) as made:
        set_up(settings, made)
        yield made


@pytest.fixture
def doctor(machine, settings):
    def run() -> str:
        ran = machine.run(
            "doctor",
            KAFKA_BOOTSTRAP_SERVERS=settings.bootstrap,
            SEALWAX_KAFKA_NAMESPACE=settings.namespace,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def rows(said: str, first: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines() if line.split()[:1] == [first]]


def test_before_the_first_start_it_says_that_there_are_no_topics(doctor, settings):
    said = doctor()
    assert f"Kafka at {settings.bootstrap}, names begin with {settings.namespace}" in said
    assert "are not there yet" in said


def test_it_says_that_all_is_well_where_it_is(doctor, log):
    said = doctor()
    assert "it answers" in said
    assert "are as they have to be" in said
    assert "no flow runs" in said
    assert "all is settled" in said
    assert "STOPPED" not in said


def test_topics_that_differ_are_shown_with_the_command_that_mends_them(doctor, log):
    log.topics.configure(topics.EVENTS, {"retention.ms": "86400000"})
    said = doctor()
    assert "run `sealwax topics apply`" in said
    assert rows(said, topics.EVENTS) == [[topics.EVENTS, "retention.ms", "86400000", "-1"]]


def test_it_shows_who_owns_which_partitions_on_which_machine(doctor, log, settings):
    member = MemberSettings("dispatch", "instance-7", timedelta(seconds=6))
    told = {"on_changed": lambda: None, "on_lost": lambda: None}
    with closing(Membership(log, settings, member, **told)) as membership:
        membership.acquire(range(PARTITIONS))
        membership.writers()
        said = doctor()
    assert rows(said, "dispatch") == [["dispatch", "0-1", socket.gethostname(), "instance-7"]]


def test_partitions_that_a_start_would_not_read_are_shown_with_the_reason(doctor, log):
    log.append_wait(READY.topic, [Entry(READY.partition, b"k", b"v") for _ in range(5)])
    log.commit("dispatch", {READY: Committed(1)})
    log.delete_before(READY, 3)
    other = TopicPartition(topics.READY[0], 0)
    stand = Stand((0,) * OUTPUTS, writer=1, lives=b"of-topic")
    log.commit("dispatch", {other: Committed(0, encode_stand(stand))})
    said = doctor()
    assert "STOPPED" in said
    stopped = {line.split()[1]: line for line in said.splitlines() if "email.ready" in line}
    assert "records 1 to 2 were deleted before they were read" in stopped[f"{READY.topic}/1"]
    assert "was deleted and made again" in stopped[f"{READY.topic}/0"]
    assert len(stopped) == 2


def test_partitions_that_analytics_would_not_read_are_shown_with_the_way_out(doctor, log):
    events = [TopicPartition(topics.EVENTS, number) for number in range(PARTITIONS)]
    log.append_wait(topics.EVENTS, [Entry(0, None, b"{}") for _ in range(5)])
    life = Range(0, None, (), b"8 bytes.").committed()
    log.commit("analytics", {events[0]: Committed(1), events[1]: life})
    log.delete_before(events[0], 3)
    said = doctor()
    stopped = {line.split()[1]: line for line in said.splitlines() if topics.EVENTS in line}
    assert "records 1 to 2 were deleted before they were read" in stopped[f"{topics.EVENTS}/0"]
    assert "was deleted and made again" in stopped[f"{topics.EVENTS}/1"]
    assert "`sealwax analytics rebuild`" in said


def test_it_counts_what_is_not_settled_and_the_leases(doctor, log):
    log.append_wait(READY.topic, [Entry(READY.partition, b"k", b"v") for _ in range(5)])
    header = Lease("holder", Position(READY.topic, 1, 7), ()).header()
    log.append_wait(RETRY.topic, [Entry(0, None, b"x", (header,))])
    sources = partitions_of(log, *topics.READY, *topics.RETRY)
    log.commit("dispatch", {tp: Committed(2 if tp == READY else 0) for tp in sources})
    said = doctor()
    assert "leases  1 stand" in said
    ((flow, records, age, ago),) = rows(said, "dispatch")
    assert (flow, records, ago) == ("dispatch", "4", "ago")
    assert log.lag("dispatch", READY) == 3
    assert age.startswith("0:")


def test_a_cluster_that_does_not_answer_is_said_in_a_line_and_by_the_status(machine):
    where = f"127.0.0.1:{free_ports(1)[0]}"
    ran = machine.run("doctor", KAFKA_BOOTSTRAP_SERVERS=where)
    assert ran.returncode == 1
    assert f"log     Kafka at {where}: NO ANSWER" in ran.stdout
    assert "refused" in ran.stdout
    assert "Kafka cannot be reached" in ran.stderr
