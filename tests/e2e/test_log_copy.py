"""An installation grows out of its machine: its log is copied to Kafka, and mail goes on there.

The platform dies under load with mail in every state. The copy is killed too, and made again.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing

import pytest

from connectors.log import LogSettings
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


def kill_some_copies(platform: Platform, settings: Mapping[str, str], times: int) -> None:
    chance = random.Random(f"{SEED} copy")
    for _ in range(times):
        killed = copy(platform, settings)
        note = platform.data_dir / "log" / "moved"
        wait_until(lambda: note.exists() or killed.poll() is not None, 60, "the copy to begin")
        time.sleep(chance.uniform(0, 6))
        killed.kill()
        killed.communicate()
        assert killed.returncode == -9, "it ended before it was killed: nothing was tried"


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
        kill_some_copies(platform, settings, 3 if soak else 1)
        for log in ({}, settings):
            status, said = up(platform, log)
            assert status == REFUSED_UP
            assert "not all of it is there: run `sealwax log copy` again" in said
        last = copy(platform, settings)
        said, _ = last.communicate(timeout=300)
        assert last.returncode == 0, said
        print(f"\nat the kill {len(sent)} arrived, waiting: {waiting}\n{said}")
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
