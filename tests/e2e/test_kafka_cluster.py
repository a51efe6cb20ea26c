"""Dispatchers that are one Bytewax cluster (`-i`, `-a`), beside another dispatcher."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.setup import set_up
from connectors.log.port import Entry, Log
from connectors.records import encode_deliveries
from sealwax import clock
from tests.support.counted_sink import counted_sink
from tests.support.deliveries import READY, delivery
from tests.support.dispatchers import Dispatcher, cluster, revive
from tests.support.kafka import namespace
from tests.support.load import DOMAINS, SESSIONS, ended_well, received, under_load
from tests.support.log_view import opened, unsettled, use_kafka
from tests.support.sink import Sink
from tests.support.smtp_engine import MESSAGE
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(600)]

PROCESSES = {"process-0.test", "process-1.test"}
CONNECTIONS = 3
SITE = "large.test"


def test_a_cluster_is_stopped_and_killed_under_load(tmp_path, kafka):
    on_kafka = use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), 6)
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        cluster(tmp_path, platform.environment, 2) as (one, other),
    ):
        with load.running():
            time.sleep(2)
            one.send(signal.SIGTERM)
            other.send(signal.SIGTERM)
            assert (one.ended(), other.ended()) == (0, 0)
            before = one.said("waiting for the other")  # in its first life
            one.start()
            wait_until(lambda: one.said("waiting for the other") > before, 60, "it to say so")
            assert one.stop() == 0
            sends_again((one, other), sink)
            assert max(received(sink).values()) == 1
            one.kill()
            wait_until(other.has_ended, 30, "the other one to end, too")
            sends_again((one, other), sink)
        doubled = ended_well("Kafka, a cluster of two", 2, platform, sink, load)
    assert doubled <= DOMAINS * SESSIONS


def sends_again(processes: Sequence[Dispatcher], sink: Sink) -> None:
    wait_until(lambda: revive(processes), 90, "the cluster to be ready")
    since = time.time()
    wait_until(lambda: sink.senders(since).keys() >= PROCESSES, 120, "both to send", 0.1)


def test_one_lane_sends_for_both_processes_and_for_nobody_that_stands_still(tmp_path, kafka):
    data_dir = tmp_path / "data"
    settings = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")},
        **use_kafka(data_dir, kafka.bootstrap, namespace(), 2),
        "SEALWAX_KAFKA_SESSION_TIMEOUT": "6s",
        "SEALWAX_CONNECTIONS_PER_SITE": str(CONNECTIONS),
    }
    # Long epochs: with those of ten seconds Bytewax asks no source any more soon after the stop.
    epochs = ("-s", "600")
    with opened(data_dir) as log, counted_sink(0.03) as sink:
        settings["SEALWAX_SMTP_ROUTES"] = f"{SITE}=127.0.0.1:{sink.port}"
        assert isinstance(log, KafkaLog)
        set_up(log.settings, log)
        with (
            cluster(tmp_path, settings, 2, *epochs) as processes,
            standing_by(tmp_path, settings) as standby,
        ):
            with mail(log) as sent:
                wait_until(lambda: len(sink.taken) > 100, 60, "mail to flow")
                ((sender, _),) = sink.begun_by.items()
                assert sink.most_at_work <= CONNECTIONS
                sleeper = processes[sender == processes[0].name]
                sleeper.send(signal.SIGSTOP)
                standby.wait_until_ready()  # it owns the partitions of the one that was stopped
                begun = sink.begun_by.copy()
                wait_until(lambda: sink.begun_by[standby.name] > 100, 60, "mail to flow again")
                assert sink.begun_by[sender] == begun[sender]
            sleeper.send(signal.SIGCONT)
            assert standby.stop() == 0
            wait_until(lambda: revive(processes) and len(sink.taken) == len(sent), 240, "all mail")
            wait_until(lambda: unsettled(data_dir) == 0, 60, "all outcomes")
            for process in processes:
                process.send(signal.SIGTERM)
            assert [process.ended() for process in processes] == [0, 0]
    assert sum(sink.taken.values()) - len(sent) <= CONNECTIONS


@contextmanager
def standing_by(folder, settings) -> Iterator[Dispatcher]:
    """A dispatcher for which there is no partition left."""
    one = Dispatcher(folder / "standby", settings)
    try:
        one.start()
        wait_until(lambda: one.said("waiting for partitions"), 60, "it to wait")
        yield one
    finally:
        one.kill()


@contextmanager
def mail(log: Log) -> Iterator[list[str]]:
    """Messages to one site, twenty a second, in both partitions; the recipients so far."""
    rcpts: list[str] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.2):
            now_ms = clock.now_ms()
            made = [
                delivery(
                    rcpt=f"user{len(rcpts) + n}@{SITE}",
                    rcpt_domain=SITE,
                    accepted_at_ms=now_ms,
                    since_ms=now_ms,
                    give_up_at_ms=now_ms + 3_600_000,
                    message=MESSAGE,
                )
                for n in range(4)
            ]
            rcpts.extend(one.rcpt for one in made)
            values = encode_deliveries([(one, b"") for one in made])
            log.append_wait(READY, [Entry(n % 2, b"k", value) for n, value in enumerate(values)])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield rcpts
    finally:
        ended.set()
        thread.join()
