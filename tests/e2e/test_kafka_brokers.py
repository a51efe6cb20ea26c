"""Networks that stall, offsets and topics that are gone: nothing is skipped, nothing sent twice."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.log.fences import FENCE, Fences, admitted
from connectors.log.port import Entry, Log, TopicPartition
from connectors.records import WITH_ROWS
from sealwax.model import topics
from tests.support.dispatchers import Analyst, Dispatcher, dispatchers
from tests.support.kafka import Cluster, free_ports, namespace, running_kafka
from tests.support.load import (
    DOMAINS,
    SEED,
    SESSIONS,
    email,
    ended_well,
    quiet,
    received,
    under_load,
)
from tests.support.log_view import opened, partitions, unsettled, use_kafka
from tests.support.platform import running_platform
from tests.support.sink import running_sink
from tests.support.stored import stored
from tests.support.tcp_proxy import running_proxy
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

PARTITIONS = 4
AT_RISK = DOMAINS * SESSIONS


@contextmanager
def behind_a_proxy(tmp_path):
    """A platform, and a dispatcher whose every byte to the broker passes a proxy."""
    target, port = free_ports(2)
    with running_kafka(proxied=(target, port)) as cluster, running_proxy(port, target) as proxy:
        settings = use_kafka(tmp_path / "data", cluster.bootstrap, "", PARTITIONS)
        with under_load(tmp_path, settings) as (platform, sink, load):
            apart = {**platform.environment, "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
            with dispatchers(tmp_path, apart, 1) as (far,):
                yield proxy, platform, sink, load, far


def test_a_network_that_drops_and_stalls_loses_nothing(tmp_path, soak):
    stalls = [(1, 5)] * 5 + [(12, 15)] if soak else [(1, 5)]  # the last outlives a membership
    chance = random.Random(f"{SEED} network")
    with behind_a_proxy(tmp_path) as (proxy, platform, sink, load, far):
        with load.running():
            for least_s, most_s in stalls:
                far.wait_until_it_sends(sink)
                time.sleep(chance.uniform(0.5, 2))
                proxy.drop()
                time.sleep(chance.uniform(0.5, 2))
                proxy.stall()
                time.sleep(chance.uniform(least_s, most_s))
                proxy.go_on()
            far.wait_until_it_sends(sink)
        doubled = ended_well("a network that drops and stalls", len(stalls), platform, sink, load)
    assert doubled <= len(stalls) * AT_RISK


def test_what_a_former_owner_still_appends_is_ignored_by_every_reader(tmp_path):
    with behind_a_proxy(tmp_path) as (proxy, platform, sink, load, far):

        def stalled_in_the_midst() -> bool:
            """Its outcomes are on their way, and its heartbeats too."""
            far.wait_until_it_sends(sink)
            proxy.stall()
            sends = far.sends_within(sink, 2)
            if not sends:  # what it had in hand was sent before
                proxy.go_on()
            return sends

        with load.running():
            wait_until(stalled_in_the_midst, 120, "it to send what nobody hears of")
        load.wait_for_all()
        wait_until(lambda: unsettled(platform.data_dir) == 0, 240, "the others to settle it", 0.5)
        far.send(signal.SIGSTOP)
        proxy.go_on()
        wait_until(lambda: stale_records(platform.data_dir), 120, "late records in the log", 0.5)
        far.send(signal.SIGCONT)
        wait_until(lambda: far.said("ownership is lost"), 120, "it to find out")
        stale = stale_records(platform.data_dir)
        far.kill()
        doubled = ended_well("a former owner", 1, platform, sink, load)
    print(f"{stale} records came behind a fence")
    assert doubled <= AT_RISK


def stale_records(data_dir) -> int:
    """Records that stand behind a fence of a newer owner."""
    stale = 0
    with opened(data_dir) as log:
        for tp in partitions(log, topics.EVENTS, *topics.RETRY):
            fences = Fences(tp)
            for record in log.scan(tp, 0, log.end_offset(tp)):
                is_fence = any(name == FENCE for name, _ in record.headers)
                stale += not fences.admits(record) and not is_fence
    return stale


@contextmanager
def at_rest(tmp_path, cluster: Cluster) -> Iterator[tuple[Dispatcher, list[str]]]:
    """A platform that has sent some mail and has stopped; a dispatcher to start on its topics."""
    with running_sink(tmp_path / "sink") as sink:
        settings = {
            **use_kafka(tmp_path / "data", cluster.bootstrap, namespace(), PARTITIONS),
            "SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}",
        }
        with running_platform(tmp_path / "data", settings) as platform:
            ids = platform.send([email(n) for n in range(40)])
            wait_until(lambda: set(ids) <= set(received(sink)), 120, "all mail")
            wait_until(lambda: unsettled(platform.data_dir) == 0, 120, "all outcomes", 0.5)
            environment = platform.environment
        dispatcher = Dispatcher(tmp_path / "data", environment)
        try:
            yield dispatcher, ids
        finally:
            dispatcher.kill()
        assert sorted(received(sink)) == sorted(ids)
        assert set(received(sink).values()) == {1}


def test_offsets_that_the_cluster_has_forgotten_send_and_store_nothing_twice(tmp_path):
    forgetful = {"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "1000"}
    with running_kafka(properties=forgetful) as cluster, at_rest(tmp_path, cluster) as (one, _):
        before = stored(one.data_dir)

        def forgotten() -> bool:
            with opened(one.data_dir) as log:
                committed = [
                    *log.committed_all("dispatch", partitions(log, *topics.READY)).values(),
                    *log.committed_all("analytics", partitions(log, *WITH_ROWS)).values(),
                ]
                return not any(committed)

        wait_until(forgotten, 240, "the offsets to be forgotten", 0.5)
        one.start()
        one.wait_until_ready()
        time.sleep(3)
        assert unsettled(one.data_dir) == 0
        assert one.stop() == 0
        analyst = Analyst(one.data_dir, one.environment)
        try:
            analyst.start()
            analyst.wait_until_ready()
            assert analyst.stop() == 0
        finally:
            analyst.kill()
        rows = stored(one.data_dir)
        assert rows.missing == rows.extra == []
        assert rows.rows == rows.rolled_up == before.rows
        assert one.said("a partition is not read") == 0


def fullest(log: Log) -> TopicPartition:
    """The partition with the most ready records."""
    return max(partitions(log, topics.READY[0]), key=log.end_offset)


def last_once_more(log: Log, tp: TopicPartition) -> None:
    """Appends the last mail of a partition again: whoever skips to it sends it twice."""
    *_, last = admitted(log.scan(tp, 0, log.end_offset(tp)), tp)
    log.append_wait(tp.topic, [Entry(tp.partition, last.key, last.value, last.headers)])


def stays_stopped(one: Dispatcher, alert: str) -> None:
    """The alert comes, and for some seconds nothing is settled; `at_rest` sees that none is sent."""
    with opened(one.data_dir) as log:
        tp = fullest(log)
        before = log.committed("dispatch", tp)
        one.start()
        one.wait_until_ready()
        assert log.end_offset(tp) > (before.offset if before else 0)
        wait_until(
            lambda: one.said(alert) or log.committed("dispatch", tp) != before, 120, "the alert"
        )
        time.sleep(5)
        assert log.committed("dispatch", tp) == before
        assert one.said(alert)
    assert one.stop() == 0


def delete(kafka: Cluster, data_dir: Path, topic: str) -> None:
    """Deletes a topic of a platform, which the next start makes anew."""
    admin = kafka.admin()
    with opened(data_dir) as log:
        name = log.settings.namespace + topic  # type: ignore[attr-defined] # it is Kafka's
    admin.delete_topics([name])[name].result(20)
    wait_until(lambda: name not in admin.list_topics(timeout=10).topics, 120, "its end", 0.2)


@pytest.mark.parametrize("topic", [topics.EVENTS, topics.READY[0]])
def test_a_topic_that_was_made_anew_is_not_read(tmp_path, kafka, topic):
    """Also where it has a record at the very offset that is read next."""
    with at_rest(tmp_path, kafka) as (one, _):
        with opened(one.data_dir) as log:
            tp = fullest(log)
            held = [
                Entry(record.partition, record.key, record.value, record.headers)
                for record in log.scan(tp, 0, log.end_offset(tp))
            ]
        delete(kafka, one.data_dir, topic)
        with opened(one.data_dir) as log:
            log.create_topics(topics.ALL)
            if topic == tp.topic:
                log.append_wait(topic, held)
            last_once_more(log, tp)
        stays_stopped(one, "deleted and made again")


def test_mail_goes_on_where_the_topic_of_ownership_was_made_anew(tmp_path, kafka):
    """Incarnations begin anew with it, below the fences that stand in the outputs."""
    data = tmp_path / "data"
    reply = "RCPT=*@later.test:451 4.7.1 try again:times=2"
    with running_sink(tmp_path / "sink", "--reply", reply) as sink:
        settings = {
            **use_kafka(data, kafka.bootstrap, namespace(), PARTITIONS),
            "SEALWAX_SMTP_ROUTES": f"*={sink.address}",
            "SEALWAX_RETRY_DELAYS": "5s",
        }
        with running_platform(data, settings):
            pass
        with opened(data) as log:  # as many lives before
            for tp in partitions(log, topics.OWNERSHIP):
                log.append_wait(topics.OWNERSHIP, [Entry(tp.partition, b"earlier", b"")] * 30)
        with running_platform(data, settings) as platform:
            ids = platform.send([{**email(n), "to": f"user{n}@later.test"} for n in range(8)])
            wait_until(lambda: unsettled(data, "render", *topics.REQUESTED) == 0, 30, "render")
        delete(kafka, data, topics.OWNERSHIP)
        for _ in range(2):
            with running_platform(data, settings) as platform:
                wait_until(lambda: set(ids) <= set(received(sink)), 90, "all mail")
                wait_until(lambda: quiet(platform), 60, "all outcomes, and their rows")
        rows = stored(data)
        counts = received(sink)
    assert sorted(counts) == sorted(ids)
    assert set(counts.values()) == {1}
    assert rows.missing == rows.extra == []
    assert rows.rows["delivered"] == len(ids)


def test_records_that_were_deleted_before_they_were_read_are_not_skipped(tmp_path, kafka):
    with at_rest(tmp_path, kafka) as (one, _):
        with opened(one.data_dir) as log:
            tp = fullest(log)
            committed = log.committed("dispatch", tp)
            assert committed
            assert committed.offset >= 1
            last_once_more(log, tp)
            # As when a retention of the cluster's own was quicker than dispatch.
            log.delete_before(tp, committed.offset)
            log.commit("dispatch", {tp: committed._replace(offset=committed.offset - 1)})
        stays_stopped(one, "were deleted before they were read")
