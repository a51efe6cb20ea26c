"""Work that keeps the processes of a flow out, on a real broker: whatever machine they are on."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest

from connectors.log import KafkaSettings
from connectors.log.kafka.alone import alone
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from connectors.log.kafka.setup import set_up
from sealwax import clock
from sealwax.errors import ConfigurationError
from tests.support.kafka import Cluster, namespace
from tests.support.platform import ROOT
from tests.support.waiting import wait_until
from tests.unit.cli.conftest import Machine

AT_ONCE = timedelta()
SESSION = timedelta(seconds=6)
# Says whether it is still alone: when it begins, and each time it is asked.
ASKED = """
import sys
from datetime import timedelta
from connectors.log import KafkaSettings
from connectors.log.kafka.alone import alone
from connectors.log.kafka.log import KafkaLog

log = KafkaLog(KafkaSettings(sys.argv[1], sys.argv[2], partitions=4))
with alone(log, "analytics", timedelta()) as still:
    print(still(), flush=True)
    for _ in sys.stdin:
        print(still(), flush=True)
"""


@pytest.fixture
def settings(kafka: Cluster) -> KafkaSettings:
    return KafkaSettings(kafka.bootstrap, namespace(), partitions=4)


@pytest.fixture
def log(settings: KafkaSettings) -> Iterator[KafkaLog]:
    with closing(KafkaLog(settings)) as made:
        set_up(settings, made)
        yield made


def joined(log: KafkaLog, settings: KafkaSettings, changed: list[str] | None = None) -> Membership:
    member = MemberSettings("analytics", "one", SESSION)
    said = [] if changed is None else changed
    return Membership(
        log,
        settings,
        member,
        on_changed=lambda: said.append("changed"),
        on_lost=lambda: said.append("lost"),
    )


def test_while_a_process_runs_it_is_refused_and_says_where_and_disturbs_nobody(log, settings):
    changed: list[str] = []
    with closing(joined(log, settings, changed)) as process:
        process.acquire(range(4))
        assert [(one.instance, one.numbers) for one in log.processes("analytics")] == [
            ("one", (0, 1, 2, 3))
        ]
        with (
            pytest.raises(ConfigurationError, match=r"analytics runs elsewhere.*127.*\(one\)"),
            alone(log, "analytics", AT_ONCE),
        ):
            pass
        assert process.valid_until() > clock.since_boot()
    assert not changed


def test_a_process_that_has_ended_is_waited_for(log, settings):
    process = joined(log, settings)
    process.acquire(range(4))
    process.close()
    assert log.processes("analytics")  # until its session is over
    with alone(log, "analytics", SESSION):
        assert [one.numbers for one in log.processes("analytics")] == [(0, 1, 2, 3)]
    wait_until(lambda: not log.processes("analytics"), 10, "the command to leave the group")


def test_a_process_that_starts_meanwhile_waits_until_the_work_is_done(log, settings):
    owned: list[int] = []
    with alone(log, "analytics", AT_ONCE):
        process = joined(log, settings)
        waiter = threading.Thread(target=lambda: owned.extend(process.acquire(range(4))))
        waiter.start()
        wait_until(lambda: len(log.processes("analytics")) == 2, 10, "the process to join")
        waiter.join(3)
        assert not owned
    waiter.join(20)
    process.close()
    assert owned == [0, 1, 2, 3]


@contextmanager
def command(settings: KafkaSettings) -> Iterator["subprocess.Popen[str]"]:
    """A command that is alone, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKED, settings.bootstrap, settings.namespace],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def answer(process: "subprocess.Popen[str]", *, asked: bool = True) -> str:
    assert process.stdin
    assert process.stdout
    if asked:
        process.stdin.write("still?\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_command_that_stood_still_until_others_could_have_its_work_is_not_alone_any_more(
    log, settings
):
    with command(settings) as process:
        assert answer(process, asked=False) == "True"
        assert answer(process) == "True"
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not log.processes("analytics"), 30, "the group to put it out")
        process.send_signal(signal.SIGCONT)
        assert [answer(process) for _ in range(2)] == ["False", "False"]


def test_a_command_stays_alone_while_a_process_waits_for_it(log, settings):
    with command(settings) as process:
        assert answer(process, asked=False) == "True"
        waiting = joined(log, settings)
        wait_until(lambda: len(log.processes("analytics")) == 2, 10, "the process to join")
        joined_at = clock.monotonic()
        while clock.monotonic() < joined_at + SESSION.total_seconds():  # what it knew is too old
            assert answer(process) == "True"
            threading.Event().wait(0.1)
        waiting.close()


def test_of_two_commands_the_second_is_refused(log, settings):
    with (
        alone(log, "replay", AT_ONCE),
        pytest.raises(ConfigurationError, match="a command"),
        alone(log, "replay", AT_ONCE),
    ):
        pass


@pytest.mark.parametrize(
    ("flow", "command"),
    [("analytics", ["analytics", "rebuild"]), ("replay", ["dead", "replay", "--all"])],
)
def test_commands_that_must_be_alone_are_refused_meanwhile(tmp_path, log, settings, flow, command):
    machine = Machine(tmp_path)
    extra = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap,
        "SEALWAX_KAFKA_NAMESPACE": settings.namespace,
        "SEALWAX_KAFKA_SESSION_TIMEOUT": "6s",
    }
    machine.data_dir.mkdir()
    with alone(log, flow, AT_ONCE):
        refused = machine.run(*command, **extra)
    assert refused.returncode == 1
    assert f"{flow} runs elsewhere on this Kafka cluster" in refused.stderr
    ran = machine.run(*command, **extra)
    assert ran.returncode == 0, ran.stderr
