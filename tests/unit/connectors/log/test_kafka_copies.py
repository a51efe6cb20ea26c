"""Topics on three real brokers: more copies by Kafka's own tool, and what three copies are for."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.log import KafkaSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.setup import apply, found_differences, set_up
from sealwax.errors import ConfigurationError
from sealwax.model import topics
from sealwax.policy.topic_layout import Found
from tests.support.kafka import Cluster, namespace, running_kafka, tool
from tests.support.platform import ROOT, SEALWAX
from tests.support.waiting import wait_until

NAMES = [spec.name for spec in topics.ALL_OF_KAFKA]
MIN_INSYNC, UNCLEAN = "min.insync.replicas", "unclean.leader.election.enable"


@pytest.fixture(scope="module")
def brokers() -> Iterator[Cluster]:
    # As careless as a cluster may be, and on a busy machine no broker is taken for dead.
    careless = {MIN_INSYNC: "1", UNCLEAN: "true", "broker.session.timeout.ms": "30000"}
    with running_kafka(3, careless) as cluster:
        yield cluster


@contextmanager
def logged(brokers: Cluster, replication: int | None) -> Iterator[KafkaLog]:
    settings = KafkaSettings(brokers.bootstrap, namespace(), partitions=2, replication=replication)
    with closing(KafkaLog(settings)) as log:
        yield log


def sealwax(tmp_path: Path, log: KafkaLog, *arguments: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SEALWAX_", "KAFKA_"))}
    ours = {
        "SEALWAX_DATA_DIR": str(tmp_path / "data"),
        "KAFKA_BOOTSTRAP_SERVERS": log.settings.bootstrap,
        "SEALWAX_KAFKA_NAMESPACE": log.settings.namespace,
        "SEALWAX_KAFKA_REPLICATION": str(log.settings.replication),
    }
    run = subprocess.run(
        [SEALWAX, *arguments], env=kept | ours, cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def refusal(log: KafkaLog) -> str:
    """Why a start is refused; empty where it is not, also where a broker has not heard of it."""
    try:
        set_up(log.settings, log)
    except ConfigurationError as error:
        return str(error)
    return ""


def are_safe(log: KafkaLog) -> bool:
    """Whether all topics have three copies, two of which acknowledge; as the broker says it."""
    found = log.topics.describe(NAMES)
    safe = {(3, "2", "false")}
    return len(found) == len(NAMES) and safe == {
        (one.replication, one.config[MIN_INSYNC], one.config[UNCLEAN]) for one in found.values()
    }


def test_topics_get_more_copies_by_the_command_that_apply_names(brokers, tmp_path):
    with logged(brokers, 1) as before:
        set_up(before.settings, before)
        was = before.topics.replicas(NAMES)
        with closing(KafkaLog(replace(before.settings, replication=2))) as log:
            with pytest.raises(ConfigurationError) as refused:
                set_up(log.settings, log)
            assert "has replication '1' and needs '2'" in str(refused.value)
            named = "run `sealwax topics apply`, and kafka-reassign-partitions.sh as it then says"
            assert str(refused.value).endswith(named)
            assert named in sealwax(tmp_path, log, "topics", "list")
            commands = [
                shlex.split(line)
                for line in sealwax(tmp_path, log, "topics", "apply").splitlines()
                if line.startswith("  kafka-reassign-partitions.sh ")
            ]
            assert [command[-1] for command in commands] == ["--execute", "--verify"]
            for _, *arguments in commands:
                tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", *arguments)
            set_up(log.settings, log)
            assert sealwax(tmp_path, log, "topics", "apply") == "nothing to change\n"
            now = log.topics.replicas(NAMES)
    kept = [broker for copies in now.values() for broker in copies]
    assert {place: copies[:1] for place, copies in now.items()} == was
    assert all(len(set(copies)) == 2 for copies in now.values())
    assert max(map(kept.count, (1, 2, 3))) - min(map(kept.count, (1, 2, 3))) <= 2


@pytest.mark.parametrize("replication", [None, 3])
def test_of_three_copies_two_acknowledge_whatever_the_cluster_says(brokers, replication):
    with logged(brokers, replication) as log:
        set_up(log.settings, log)
        wait_until(lambda: are_safe(log), 20, "all brokers to know it")


def test_topics_that_one_broker_has_not_heard_of_get_them_too(brokers, monkeypatch):
    with logged(brokers, None) as log:
        answers: list[dict[str, Found]] = [{}]
        describe = log.topics.describe
        monkeypatch.setattr(
            log.topics, "describe", lambda names: answers.pop() if answers else describe(names)
        )
        set_up(log.settings, log)
        assert not answers
        wait_until(lambda: are_safe(log), 20, "all brokers to know it")


@pytest.mark.parametrize(("what", "value"), [(MIN_INSYNC, "1"), (UNCLEAN, "true")])
def test_topics_that_could_lose_what_was_acknowledged_are_refused_and_mended(brokers, what, value):
    with logged(brokers, 3) as log:
        set_up(log.settings, log)
        wait_until(lambda: are_safe(log), 20, "all brokers to know it")
        log.topics.configure(topics.EVENTS, {what: value})
        said = wait_until(lambda: refusal(log), 20, "the start to be refused")
        assert f"{what} '{value}'" in said
        assert said.endswith("run `sealwax topics apply`")
        wait_until(lambda: list(apply(log)), 20, "it to be mended")
        wait_until(lambda: not refusal(log), 20, "the start")
        wait_until(lambda: are_safe(log), 20, "all brokers to know it again")


def test_one_copy_acknowledges_alone(brokers):
    with logged(brokers, 1) as log:
        set_up(log.settings, log)
        assert {one.config[MIN_INSYNC] for one in log.topics.describe(NAMES).values()} == {"1"}
        assert not found_differences(log)


def test_more_copies_than_brokers_are_refused(brokers, tmp_path):
    with logged(brokers, 1) as before:
        set_up(before.settings, before)
        with (
            closing(KafkaLog(replace(before.settings, replication=4))) as log,
            pytest.raises(AssertionError, match="is 4, and the cluster has 3 brokers"),
        ):
            sealwax(tmp_path, log, "topics", "apply")
