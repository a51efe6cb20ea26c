"""An installation grows out of its machine: its log is copied to Kafka, and mail goes on there.

The platform dies under load with mail in every state. The copy is killed too, and made again.
"""

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing

import pytest

from connectors.log import LogSettings
from connectors.log.kafka.log import KafkaLog
from connectors.log.sqlite.log import SqliteLog
from sealwax.model import topics
from tests.support.kafka import namespace
from tests.support.load import DOMAINS, SEED, SESSIONS, Load, ended_well, received, under_load
from tests.support.log_view import opened, partitions, unsettled, use_kafka
from tests.support.platform import ROOT, SEALWAX, Platform
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(900)]

PARTITIONS = 4
REFUSED_UP = 1


def copy(platform: Platform, more: Mapping[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [SEALWAX, "log", "copy"],
        env={**platform.environment, **more},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_a_copy(platform: Platform, settings: Mapping[str, str], chance: random.Random) -> str:
    """kill -9 once a part of it is there; which part."""
    with opened(platform.data_dir) as target:
        assert isinstance(target, KafkaLog)
        with closing(SqliteLog(LogSettings(platform.data_dir / "log"))) as source:
            tps = partitions(source, *(spec.name for spec in topics.ALL))
            total = sum(source.end_offsets(tps).values())
        wanted = chance.randrange(total)
        running = copy(platform, settings)

        def there() -> int:
            if len(target.topics.look_up([spec.name for spec in topics.ALL])) < len(topics.ALL):
                return -1
            return sum(target.end_offsets(tps).values())

        wait_until(lambda: running.poll() is not None or there() >= wanted, 120, "a part of it")
        running.kill()
        said, _ = running.communicate()
        assert running.returncode == -signal.SIGKILL, f"it ended before it was killed: {said}"
        return f"killed at {there()} of {total}"


def up(platform: Platform, more: Mapping[str, str]) -> tuple[int, str]:
    """What a start says that must not work."""
    run = subprocess.run(
        [SEALWAX, "up"],
        env={**platform.environment, **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stderr


def test_a_log_that_is_copied_to_kafka_loses_nothing_and_doubles_no_more_than_the_kill(
    tmp_path, kafka, soak
):
    retries = {"SEALWAX_RETRY_DELAYS": "1m"}  # so that some wait in a topic that holds them
    data_dir = tmp_path / "data"
    with under_load(tmp_path, retries) as (platform, sink, load):
        with load.running():
            wait_until(lambda: len(sink.index()) > 400, 120, "a good part of the mail")
            platform.kill()
        waiting = {
            "requested": unsettled(data_dir, "render", *topics.REQUESTED),
            "ready": unsettled(data_dir, "dispatch", *topics.READY),
            "delayed": unsettled(data_dir, "dispatch", *topics.RETRY),
            "events": unsettled(data_dir, "analytics", topics.EVENTS),
        }
        sent = received(sink)
        settings = use_kafka(data_dir, kafka.bootstrap, namespace(), PARTITIONS)
        del settings["SEALWAX_PARTITIONS"]  # a copy goes by what is there, and so do the flows
        chance = random.Random(f"{SEED} copy")
        kills = [kill_a_copy(platform, settings, chance) for _ in range(3 if soak else 1)]
        for log in ({}, settings):
            status, said = up(platform, log)
            assert status == REFUSED_UP
            assert "not all of it is there: run `sealwax log copy` again" in said
        last = copy(platform, settings)
        said, _ = last.communicate(timeout=300)
        assert last.returncode == 0, said
        assert "The topics get 4 partitions, as the log has, and not 12." in said
        print(f"\nat the kill {len(sent)} arrived, waiting: {waiting}\n{kills}\n{said}")
        with (
            closing(SqliteLog(LogSettings(data_dir / "log"))) as before,
            opened(data_dir) as after,
        ):
            tps = partitions(before, *(spec.name for spec in topics.ALL))
            assert after.end_offsets(tps) == before.end_offsets(tps)
            copied = sum(before.end_offsets(tps).values())
        assert f"{copied:,} records are in Kafka" in said
        status, said = up(platform, {})
        assert status == REFUSED_UP
        assert "was moved to Kafka" in said

        platform.environment.update(settings)
        platform.start()
        more = Load(platform, sink)
        with more.running():
            time.sleep(3)
        load.accepted += more.accepted
        doubled = ended_well("log copy", 1, platform, sink, load)
        late = Counter(received(sink)) - sent
    assert min(waiting[name] for name in ("ready", "delayed", "events")) > 0, waiting
    assert len(late) > len(more.accepted)
    assert doubled <= DOMAINS * SESSIONS
