"""Dispatchers that share the partitions of a Kafka cluster, and survive each other."""

import signal
import time

import pytest

from tests.support.dispatchers import Dispatcher, dispatchers
from tests.support.kafka import namespace
from tests.support.load import DOMAINS, SESSIONS, ended_well, under_load
from tests.support.log_view import unsettled, use_kafka
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

# Each of the load's five domains is in one of its own: no dispatcher is without mail.
PARTITIONS = 5
LOST = "ownership is lost"


@pytest.fixture
def on_kafka(tmp_path, kafka):
    return use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), PARTITIONS)


def test_of_three_dispatchers_one_dies_and_the_others_take_its_work_over(tmp_path, on_kafka, soak):
    rounds = 5 if soak else 1
    took_s = []
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 2) as (victim, _),
    ):
        for _ in range(rounds):
            if victim.has_ended():
                victim.start()
                victim.wait_until_ready()
            with load.running():
                victim.wait_until_it_sends(sink)
                victim.kill()
                killed_at = time.monotonic()
                time.sleep(2)
            load.wait_for_all()
            took_s.append(time.monotonic() - killed_at)
        doubled = ended_well("Kafka, one of three dispatchers dies", rounds, platform, sink, load)
    print("all mail was delivered so long after a kill:", *(f"{one:.1f} s" for one in took_s))
    assert doubled <= rounds * DOMAINS * SESSIONS
    assert max(took_s) < (30 if soak else 120)  # which shares its machine with other tests


def test_a_dispatcher_that_was_stopped_starts_no_further_mail(tmp_path, on_kafka, soak):
    rounds, least_s = (2, 60) if soak else (1, 12)
    with (
        under_load(tmp_path, on_kafka) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1) as (sleeper,),
    ):
        for _ in range(rounds):
            with load.running():
                sleeper.wait_until_it_sends(sink)
                sleeper.send(signal.SIGSTOP)
                stopped_at = time.monotonic()
                time.sleep(2)
            load.wait_for_all()
            wait_until(lambda: unsettled(platform.data_dir) == 0, 240, "all outcomes", 0.5)
            time.sleep(max(0, stopped_at + least_s - time.monotonic()))
            before, woken_at = sink.count(), time.time()
            wake(sleeper)
            time.sleep(3)
            late = sink.count() - before, sink.senders(woken_at)[sleeper.name]
            print(f"\n{late} mails came after it was woken, of all and of its own")
            assert late == (0, 0)
        doubled = ended_well("Kafka, SIGSTOP and SIGCONT", rounds, platform, sink, load)
    assert doubled <= rounds * DOMAINS * SESSIONS


def wake(sleeper: Dispatcher) -> None:
    """SIGCONT; returns when it has found out, and its next life has begun."""
    lost, lives = sleeper.said(LOST), sleeper.said("owns")
    sleeper.send(signal.SIGCONT)
    wait_until(lambda: sleeper.said(LOST) > lost, 120, "it to find out")
    wait_until(lambda: sleeper.said("owns") > lives, 120, "its next life")


def test_two_become_three_and_two_again_and_nothing_comes_twice(
    tmp_path, on_kafka, unhurried, soak
):
    rounds = 5 if soak else 1
    with (
        under_load(tmp_path, {**on_kafka, **unhurried}) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1),
    ):
        third = Dispatcher(tmp_path / "third", platform.environment)
        try:
            for _ in range(rounds):
                with load.running():
                    time.sleep(1)
                    third.start()
                    third.wait_until_ready()
                    third.wait_until_it_sends(sink)
                    assert third.stop() == 0
                    time.sleep(2)
                load.wait_for_all()  # the others have its partitions
            doubled = ended_well("Kafka, 2 -> 3 -> 2 dispatchers", rounds, platform, sink, load)
        finally:
            third.kill()
    assert doubled == 0


def test_a_dispatcher_of_two_workers_beside_another_one_doubles_nothing(
    tmp_path, on_kafka, unhurried
):
    with under_load(tmp_path, {**on_kafka, **unhurried}) as (platform, sink, load):
        two = Dispatcher(tmp_path / "two", platform.environment, "-w", "2")
        try:
            two.start()
            two.wait_until_ready()
            with load.running():
                two.wait_until_it_sends(sink)
                time.sleep(3)
            doubled = ended_well("Kafka, a dispatcher of two workers", 1, platform, sink, load)
            assert two.stop() == 0
        finally:
            two.kill()
    assert doubled == 0
