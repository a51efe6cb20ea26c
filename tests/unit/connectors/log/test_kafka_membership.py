"""Members of a flow's group on a real broker: what their incarnations are."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from math import inf
from pathlib import Path
from subprocess import PIPE

import pytest

from connectors.log import KafkaSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from connectors.log.kafka.setup import set_up
from sealwax.model.topics import OWNERSHIP
from sealwax.store.processes import ProcessFiles
from tests.support.kafka import Cluster, namespace
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[4]


@pytest.fixture
def log(kafka: Cluster) -> Iterator[KafkaLog]:
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=2)
    with closing(KafkaLog(settings)) as made:
        set_up(settings, made)
        yield made


@contextmanager
def joined(log: KafkaLog) -> Iterator[Membership]:
    member = MemberSettings("dispatch", "one", timedelta(seconds=6))
    said = {"on_changed": lambda: None, "on_lost": lambda: None}
    with closing(Membership(log, log.settings, member, **said)) as membership:
        membership.acquire(range(2))
        yield membership


def incarnations(membership: Membership, **above: int) -> list[int]:
    numbers = {int(name.removeprefix("of_")): least for name, least in above.items()}
    return [writer.incarnation for _, writer in sorted(membership.writers(numbers).items())]


def test_an_incarnation_rises_above_those_that_the_topic_does_not_know_any_more(log):
    with joined(log) as one:
        assert incarnations(one) == [1, 1]
        assert incarnations(one, of_0=1, of_1=2_500) == [2, 2_501]
        assert incarnations(one) == [3, 2_502]
    with joined(log) as one:
        assert incarnations(one) == [4, 2_503]


def test_an_incarnation_that_was_said_when_ownership_was_not_sure_is_none(log, monkeypatch):
    with joined(log) as one:
        append, late = log.append_wait, iter([True])

        def append_slowly(topic, entries):
            offsets = append(topic, entries)
            if topic == OWNERSHIP and next(late, False):
                monkeypatch.setattr(one, "_valid_until", -inf)  # until it is proven again
            return offsets

        monkeypatch.setattr(log, "append_wait", append_slowly)
        assert incarnations(one) == [2, 2]


def test_a_member_that_closes_keeps_its_name_so_that_its_next_life_is_not_waited_for(log, tmp_path):
    files = ProcessFiles(tmp_path)
    name = files.instance("dispatch")
    member = MemberSettings("dispatch", name, rename=lambda: files.rename("dispatch"))
    said = {"on_changed": lambda: None, "on_lost": lambda: None}
    with closing(Membership(log, log.settings, member, **said)) as membership:
        assert membership.acquire(range(2)) == [0, 1]
    assert files.instance("dispatch") == name


# A process that dies when it is asked for partitions, and lives where it is told to.
MEMBER = """
import os, sys
from datetime import timedelta
from pathlib import Path
from connectors.log import KafkaSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from sealwax.store.processes import ProcessFiles

bootstrap, namespace, data_dir, dies = sys.argv[1:]
files = ProcessFiles(Path(data_dir))
settings = KafkaSettings(bootstrap, namespace, partitions=4)
log = KafkaLog(settings)
member = MemberSettings(
    "dispatch", files.instance("dispatch"), timedelta(seconds=6),
    rename=lambda: files.rename("dispatch"),
)
membership = Membership(
    log, settings, member, on_changed=lambda: dies and os._exit(9), on_lost=lambda: None
)
print(*membership.acquire(range(4)), flush=True)
sys.stdin.read()
"""


@contextmanager
def living(log: KafkaLog, data_dir: Path, dies: str = "") -> "Iterator[subprocess.Popen[str]]":
    data_dir.mkdir(exist_ok=True)
    settings = log.settings
    command = [sys.executable, "-c", MEMBER, settings.bootstrap, settings.namespace, str(data_dir)]
    with subprocess.Popen([*command, dies], stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as made:
        try:
            yield made
        finally:
            made.kill()


@pytest.mark.slow
def test_partitions_of_a_member_that_dies_while_it_gives_them_up_are_taken(log, tmp_path):
    """It comes back at once by its directory: the group takes who has the same name for the same."""
    with living(log, tmp_path / "one", "dies") as first:
        assert first.stdout
        assert first.stdout.readline().split() == ["0", "1"]
        with living(log, tmp_path / "two"):
            assert first.wait(60) == 9
            with living(log, tmp_path / "one"):
                wait_until(
                    lambda: (
                        sorted(n for m in log.processes("dispatch") for n in m.numbers) == [0, 1]
                        and len(log.processes("dispatch")) == 2
                    ),
                    90,
                    "all partitions to be owned",
                    0.5,
                )


# A process of a flow that one works on, whose proof is answered in the call in which it is assigned.
ALONE = """
import sys
from contextlib import closing
from datetime import timedelta

from confluent_kafka import TopicPartition

from connectors.log import KafkaSettings
from connectors.log.kafka import membership
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings

bootstrap, namespace = sys.argv[1:]
settings = KafkaSettings(bootstrap, namespace, partitions=1)
assign = membership.Membership._assign


def with_a_proof(member, consumer, places):
    consumer.commit(offsets=[TopicPartition(member._topic, 0, 1)], asynchronous=True)
    assign(member, consumer, places)
    print("assigned", flush=True)


membership._POLL_S = 1.0
membership.Membership._assign = with_a_proof
member = MemberSettings("analytics", "alone", timedelta(seconds=6), alone=True)
with closing(KafkaLog(settings)) as log, closing(
    membership.Membership(log, settings, member, on_changed=lambda: None, on_lost=lambda: None)
) as made:
    print(*made.acquire(range(1)), flush=True)
    sys.stdin.read()
"""


def test_a_member_that_is_assigned_and_answered_in_one_call_goes_on(kafka):
    """The client aborts the process where a callback asks the broker, and another one follows.

    There is one partition, so that who comes later changes nothing for the first.
    """
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=1)
    command = [sys.executable, "-c", ALONE, settings.bootstrap, settings.namespace]
    with closing(KafkaLog(settings)) as log:
        set_up(settings, log)
        _joined_by_another(log, settings, command)


def _joined_by_another(log: KafkaLog, settings: KafkaSettings, command: list[str]) -> None:
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout
        assert [first.stdout.readline() for _ in range(2)] == ["assigned\n", "0\n"]
        other = MemberSettings("analytics", "other", timedelta(seconds=6), alone=True)
        said = {"on_changed": lambda: None, "on_lost": lambda: None}
        with closing(Membership(log, settings, other, **said)):
            assert first.stdout.readline() == "assigned\n"  # anew
            time.sleep(2)  # for a process that would be aborted now
            first.communicate(timeout=30)
    assert first.returncode == 0
