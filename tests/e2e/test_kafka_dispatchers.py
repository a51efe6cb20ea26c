"""Dispatchers that share the partitions of a Kafka cluster, and survive each other."""

import signal
import time

import pytest

from tests.support.dispatchers import Dispatcher, dispatchers
from tests.support.kafka import namespace
from tests.support.load import DOMAINS, SESSIONS, ended_well, received, under_load
from tests.support.log_view import unsettled, use_kafka
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

PARTITIONS = 6


@pytest.fixture
def on_kafka(tmp_path, kafka):
    return use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), PARTITIONS)


def test_of_three_dispatchers_one_dies_and_the_others_take_its_work_over(tmp_path, on_kafka):
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 2) as (victim, _),
    ):
        with load.running():
            time.sleep(2)
            victim.kill()
            killed_at = time.monotonic()
            time.sleep(2)
        wait_until(lambda: set(load.accepted) <= set(received(sink)), 240, "all mail")
        seconds = time.monotonic() - killed_at
        doubled = ended_well("Kafka, one of three dispatchers dies", 1, platform, sink, load)
    print(f"all its mail was delivered {seconds:.1f} s after the kill")
    assert doubled <= DOMAINS * SESSIONS
    assert seconds < 60  # 30 on a machine of its own


def test_a_dispatcher_that_was_stopped_starts_no_further_mail(tmp_path, on_kafka, soak):
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1) as (sleeper,),
    ):
        with load.running():
            time.sleep(2)
            sleeper.send(signal.SIGSTOP)
            stopped_at = time.monotonic()
            time.sleep(2)
        wait_until(lambda: set(load.accepted) <= set(received(sink)), 240, "all mail")
        wait_until(lambda: unsettled(platform.data_dir) == 0, 240, "all outcomes")
        least_s = 60 if soak else 12
        time.sleep(max(0, stopped_at + least_s - time.monotonic()))
        before = sum(received(sink).values())
        sleeper.send(signal.SIGCONT)
        wait_until(lambda: sleeper.said("ownership is lost"), 60, "it to find out")
        time.sleep(3)
        after = sum(received(sink).values())
        sleeper.wait_until_ready()
        doubled = ended_well("Kafka, SIGSTOP and SIGCONT", 1, platform, sink, load)
    print(f"{after - before} mails came after it was woken")
    assert after == before
    assert doubled <= DOMAINS * SESSIONS


def test_two_become_three_and_two_again_and_nothing_comes_twice(tmp_path, on_kafka):
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1),
    ):
        third = Dispatcher(tmp_path / "third", platform.environment)
        try:
            with load.running():
                time.sleep(1)
                third.start()
                third.wait_until_ready()
                time.sleep(2)
                assert third.stop() == 0
                time.sleep(2)
            doubled = ended_well("Kafka, 2 -> 3 -> 2 dispatchers", 1, platform, sink, load)
        finally:
            third.kill()
    assert third.said("owns")
    assert doubled == 0


def test_a_dispatcher_of_two_workers_beside_another_one_doubles_nothing(tmp_path, on_kafka):
    with under_load(tmp_path, on_kafka) as (platform, sink, load):
        two = Dispatcher(tmp_path / "two", platform.environment, "-w", "2")
        try:
            two.start()
            two.wait_until_ready()
            with load.running():
                time.sleep(3)
            doubled = ended_well("Kafka, a dispatcher of two workers", 1, platform, sink, load)
            assert two.stop() == 0
        finally:
            two.kill()
    assert two.said("owns")
    assert doubled == 0
