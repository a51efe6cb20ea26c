"""Dispatchers that are one Bytewax cluster (`-i`, `-a`), beside another dispatcher."""

import os
import signal
import time

import pytest

from connectors.log.kafka.setup import set_up
from connectors.log.port import Entry
from connectors.records import encode_deliveries
from sealwax import clock
from sealwax.model import topics
from tests.support.counted_sink import counted_sink
from tests.support.deliveries import delivery
from tests.support.dispatchers import cluster, revive
from tests.support.kafka import namespace
from tests.support.load import DOMAINS, SESSIONS, ended_well, received, under_load
from tests.support.log_view import opened, settings_of, unsettled, use_kafka
from tests.support.smtp_engine import MESSAGE
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(600)]

PARTITIONS = 6
CONNECTIONS = 3
SITE = "large.test"


@pytest.fixture
def on_kafka(tmp_path, kafka):
    return use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), PARTITIONS)


def senders(sink, since=0.0):
    """When each of the processes' mails came, by its EHLO name."""
    times = {}
    for entry in sink.index():
        if entry["ts"] >= since:
            times.setdefault(entry["ehlo"], []).append(entry["ts"])
    return times


def test_a_cluster_doubles_nothing_and_stops_as_a_whole(tmp_path, on_kafka):
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        cluster(tmp_path, platform.environment, 2) as processes,
    ):
        with load.running():
            time.sleep(3)
            for process in processes:
                process.send(signal.SIGTERM)
            assert [process.stop() for process in processes] == [0, 0]
            time.sleep(1)
        doubled = ended_well("Kafka, a cluster of two", 1, platform, sink, load)
    assert {"process-0.test", "process-1.test"} < set(senders(sink))
    assert doubled == 0


def test_of_a_cluster_one_process_is_killed_and_both_start_again(tmp_path, on_kafka):
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        cluster(tmp_path, platform.environment, 2) as (victim, other),
    ):
        with load.running():
            time.sleep(2)
            victim.kill()
            wait_until(other.has_ended, 30, "the other one to end, too")
            wait_until(lambda: revive((victim, other)), 90, "the cluster to be ready again")
            again_at = time.time()
            time.sleep(2)
        doubled = ended_well("Kafka, one of a cluster is killed", 1, platform, sink, load)
    assert {"process-0.test", "process-1.test"} <= set(senders(sink, again_at))
    assert doubled <= DOMAINS * SESSIONS


def test_nobody_sends_for_a_process_that_stands_still(tmp_path, on_kafka):
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        cluster(tmp_path, platform.environment, 2) as (sleeper, other),
    ):
        with load.running():
            time.sleep(2)
            sleeper.send(signal.SIGSTOP)
            stopped_at = time.time()
            wait_until(lambda: other.said("ends without the others"), 60, "the other one to end")
        sleeper.send(signal.SIGCONT)
        wait_until(lambda: revive((sleeper, other)), 90, "the cluster to be ready again")
        late = {name: max(times) - stopped_at for name, times in senders(sink).items()}
        doubled = ended_well("Kafka, one of a cluster stands still", 1, platform, sink, load)
    print(late)
    assert doubled <= DOMAINS * SESSIONS


def test_a_site_has_one_lane_for_the_whole_cluster(tmp_path, on_kafka):
    rcpts = [f"user{n}@{SITE}" for n in range(300)]
    now_ms = clock.now_ms()
    times = dict.fromkeys(("accepted_at_ms", "since_ms"), now_ms)
    mail = [
        delivery(
            rcpt=rcpt, rcpt_domain=SITE, message=MESSAGE, **times, give_up_at_ms=now_ms + 3_600_000
        )
        for rcpt in rcpts
    ]
    values = encode_deliveries([(one, b"") for one in mail])
    with opened(tmp_path / "data") as log, counted_sink(0.03) as sink:
        set_up(settings_of(tmp_path / "data"), log)
        entries = [Entry(n % PARTITIONS, SITE.encode(), value) for n, value in enumerate(values)]
        log.append_wait(topics.ready(topics.Stream.TRANSACTIONAL), entries)
        settings = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")},
            **on_kafka,
            "SEALWAX_SMTP_ROUTES": f"{SITE}=127.0.0.1:{sink.port}",
            "SEALWAX_CONNECTIONS_PER_SITE": str(CONNECTIONS),
        }
        with cluster(tmp_path, settings, 2) as processes:
            wait_until(lambda: len(sink.taken) == len(rcpts), 120, "all mail")
            wait_until(lambda: unsettled(tmp_path / "data") == 0, 60, "all outcomes")
            processes[0].send(signal.SIGTERM)
            assert [process.stop() for process in processes] == [0, 0]
    assert [process.said("owns") for process in processes] == [1, 1]
    assert max(sink.taken.values()) == 1
    assert sink.most_at_work == CONNECTIONS
