"""The embedded log under kill -9, and beside processes that were killed."""

import os
import random
import signal
import time

import pytest

from connectors.log.port import Entry, Log, TopicPartition
from sealwax.model.topics import TopicSpec
from tests.support.log_adapters import FACTORIES, PARTITIONS, open_sqlite
from tests.support.log_process import next_line, running, the_rest
from tests.support.log_reading import everything, read_until

TOPIC = "orders"
FACTORY = FACTORIES["sqlite"]
ROUNDS = 8
FILLER = 3_000


@pytest.fixture
def log(tmp_path):
    made = open_sqlite(tmp_path)
    made.create_topics([TopicSpec(TOPIC)])
    yield made
    made.close()


def run_until_killed(tmp_path, name: str, seed: int) -> set[int]:
    """Lets a process append for a random time, kills it, and returns the acknowledged numbers."""
    with running("append_for_ever", FACTORY, tmp_path, TOPIC, name, str(FILLER)) as process:
        acknowledged = {int(next_line(process))}
        time.sleep(random.Random(seed).uniform(0.0, 0.4))
        process.kill()
        rest = the_rest(process).split("\n")
    # The last line may be torn by the kill; it is then a shorter number, or empty.
    return acknowledged | {int(line) for line in rest[:-1]}


def check(log: Log, acknowledged: dict[str, set[int]]) -> None:
    for partition in range(PARTITIONS):
        records = everything(log, TopicPartition(TOPIC, partition))
        assert [record.offset for record in records] == list(range(len(records)))
        assert all(record.value == (record.key or b"") + b"x" * FILLER for record in records)
        stamps = [record.stamp_ms for record in records]
        assert stamps == sorted(stamps)
        numbers: dict[str, list[int]] = {name: [] for name in acknowledged}
        for first, second, third in zip(*[iter(records)] * 3, strict=True):
            name, number, _ = (first.key or b"").decode().split(":")
            assert [(r.key or b"").decode() for r in (first, second, third)] == [
                f"{name}:{number}:{i}" for i in range(3)
            ], "an append was split"
            numbers[name].append(int(number))
        for name, found in numbers.items():
            assert found == list(range(len(found)))
            assert acknowledged[name] <= set(found)


@pytest.mark.slow
def test_what_was_acknowledged_survives_kills_at_any_moment(tmp_path, log):
    readers = {n: log.reader(TopicPartition(TOPIC, n), 0) for n in range(PARTITIONS)}
    followed: dict[int, list[int]] = {n: [] for n in readers}
    acknowledged = {}
    for number in range(ROUNDS):
        acknowledged[f"r{number}"] = run_until_killed(tmp_path, f"r{number}", number)
        for partition, reader in readers.items():
            end = log.end_offset(TopicPartition(TOPIC, partition))
            missing = end - len(followed[partition])
            followed[partition] += [r.offset for r in read_until(reader, missing)]
    check(log, acknowledged)
    assert all(offsets == list(range(len(offsets))) for offsets in followed.values())
    assert sum(map(len, acknowledged.values())) > ROUNDS


@pytest.mark.slow
def test_two_processes_that_append_are_killed_together(tmp_path, log):
    acknowledged = {}
    for number in range(4):
        with running("append_for_ever", FACTORY, tmp_path, TOPIC, f"a{number}", str(FILLER)) as a:
            next_line(a)
            acknowledged[f"b{number}"] = run_until_killed(tmp_path, f"b{number}", number)
        acknowledged[f"a{number}"] = set()
    records = everything(log, TopicPartition(TOPIC, 0))
    assert [record.offset for record in records] == list(range(len(records)))
    keys = {record.key for record in records}
    for name, numbers in acknowledged.items():
        assert {f"{name}:{n}:{i}".encode() for n in numbers for i in range(3)} <= keys


def test_a_stopped_appender_holds_nobody_up_for_longer_than_it_is_stopped(tmp_path, log):
    with running("append_for_ever", FACTORY, tmp_path, TOPIC, "a", "10") as process:
        next_line(process)
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGCONT)
        assert log.append_wait(TOPIC, [Entry(0, b"mine", b"v")])


def test_a_killed_holder_of_the_lock_gives_it_back(tmp_path, log):
    with running("append_for_ever", FACTORY, tmp_path, TOPIC, "a", "10") as process:
        next_line(process)
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert log.append_wait(TOPIC, [Entry(0, b"mine", b"v")])
