"""What the processes of a Bytewax cluster know of each other, and from when on."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.log.fences import Writer
from connectors.log.peers import Ask, Peers, Place
from sealwax import clock

ROOT = Path(__file__).parents[4]


class Moved:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Moved:
    moved = Moved()
    monkeypatch.setattr(clock, "monotonic", moved)
    monkeypatch.setattr(clock, "since_boot", moved)
    return moved


class Process:
    """A process of a cluster of two."""

    def __init__(self, index: int, valid_until: Callable[[], float] = lambda: 1_007.0) -> None:
        self.draining = False
        self.told = 0
        self.peers = Peers(
            Place(index, ("", "")),
            valid_until=valid_until,
            draining=lambda: self.draining,
            on_draining=self._tell,
        )
        self.peers.own({index: Writer("dispatch", index, 7 + index)})

    def _tell(self) -> None:
        self.told += 1

    def send(self, other: "Process") -> None:
        """Everything that it has to say arrives, as Bytewax brings it."""
        for home, mail in self.peers.take_mail():
            assert home == other.peers.home
            other.peers.receive(pickle.loads(pickle.dumps(mail)))  # noqa: S301 - its own


def test_without_a_cluster_nobody_is_asked_or_waited_for():
    peers = Peers()
    assert peers.alone
    assert peers.ready
    assert not peers.silent
    assert peers.take_mail() == []
    assert peers.home_of(3) == peers.home
    assert peers.valid_until() == float("inf")


def test_a_process_is_ready_when_the_other_one_knows_what_it_owns(now):
    one, other = Process(0), Process(1)
    one.send(other)
    assert other.peers.writers[0] == Writer("dispatch", 0, 7)
    assert other.peers.home_of(0) == one.peers.home
    assert other.peers.holders == {one.peers.holder}
    # The other one knows the first one then, but not whether that knows it.
    assert (one.peers.ready, other.peers.ready) == (False, False)
    other.send(one)
    assert (one.peers.ready, other.peers.ready) == (True, False)
    one.send(other)
    assert (one.peers.ready, other.peers.ready) == (True, True)


def test_what_another_process_owns_counts_from_the_question_on_and_no_longer(now):
    one, other = Process(0), Process(1)
    assert one.peers.valid_until() == float("-inf")
    ((_, question),) = one.peers.take_mail()
    now.at += 2  # on its way
    other.peers.receive(question)
    other.send(one)
    assert one.peers.valid_until() == 1_005  # 5 s were left, and the question was asked 2 s ago
    now.at += 60
    assert one.peers.valid_until() == 1_005


def test_a_process_that_owns_nothing_any_more_says_so(now):
    one, other = Process(0), Process(1, lambda: float("-inf"))
    one.send(other)
    other.send(one)
    assert one.peers.ready
    assert one.peers.valid_until() == float("-inf")


def test_it_asks_four_times_a_second(now):
    one = Process(0)
    asked = 0
    for _ in range(100):
        asked += sum(isinstance(mail, Ask) for _, mail in one.peers.take_mail())
        now.at += 0.01
    assert asked == 4


def test_a_process_that_drains_tells_the_other_one(now):
    one, other = Process(0), Process(1)
    one.send(other)
    assert other.told == 0
    one.draining = True
    now.at += 1
    one.send(other)
    assert other.told == 1


def test_one_that_answers_no_more_is_silent(now):
    one, other = Process(0), Process(1)
    now.at += 100
    assert not one.peers.silent  # it is not waited for yet
    one.peers.met()
    one.send(other)
    other.send(one)
    now.at += 29
    assert not one.peers.silent
    now.at += 2
    assert one.peers.silent


def start(flow: str, *options: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SEALWAX_", "KAFKA_"))}
    return subprocess.run(
        [sys.executable, "-m", "bytewax.run", f"flows.{flow}", *options],
        env={**environment, **settings}, capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip


TWO = ("-a", "127.0.0.1:1;127.0.0.1:2")


@pytest.mark.parametrize(
    ("flow", "index", "kafka", "sentence"),
    [
        ("dispatch", "0", "", "a cluster (-i, -a) needs Kafka: the log of a data directory is for"),
        ("render", "1", "", "a cluster (-i, -a) needs Kafka: the log of a data directory is for"),
        ("analytics", "0", "127.0.0.1:1", "one process has all partitions, so it is started"),
        ("dispatch", "2", "127.0.0.1:1", "there is no process 2 (-i) in a cluster of 2 (-a)"),
    ],
)
def test_a_cluster_that_cannot_work_is_refused(tmp_path, flow, index, kafka, sentence):
    run = start(
        flow, "-i", index, *TWO, SEALWAX_DATA_DIR=str(tmp_path), KAFKA_BOOTSTRAP_SERVERS=kafka
    )
    assert run.returncode == 1
    assert f"sealwax {flow}: {sentence}" in run.stderr
    assert "Traceback" not in run.stderr


def test_one_that_never_answered_is_silent_some_time_after_they_met(now):
    one = Process(0)
    one.peers.met()
    now.at += 29
    assert not one.peers.silent
    now.at += 2
    assert one.peers.silent
