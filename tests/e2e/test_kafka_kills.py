"""The same on Kafka: processes of ours that are killed, and the broker."""

import random
import signal
import time

import pytest

from tests.support.kafka import namespace
from tests.support.load import DOMAINS, SEED, SESSIONS, ended_well, interrupt, under_load
from tests.support.log_view import use_kafka

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

PARTITIONS = 4
FULL_ROUNDS = {"dispatch": 5, "render": 5, "api": 5, "analytics": 5}


@pytest.mark.parametrize("name", list(FULL_ROUNDS))
def test_a_kill_loses_nothing_and_doubles_at_most_what_was_in_sessions(tmp_path, name, soak, kafka):
    if not soak and name in ("dispatch", "render", "api"):
        pytest.skip("test_services.py kills them; `make soak` does here as well")
    rounds = FULL_ROUNDS[name] if soak else 1
    chance = random.Random(f"{SEED} {name}")
    settings = use_kafka(tmp_path / "data", kafka.bootstrap, namespace(), PARTITIONS)
    with under_load(tmp_path, settings) as (platform, sink, load):
        with load.running():
            for _ in range(rounds):
                interrupt(platform, name, signal.SIGKILL, chance)
            time.sleep(1)
        doubled = ended_well(f"Kafka, kill -9 {name}", rounds, platform, sink, load)
    assert doubled <= (rounds * DOMAINS * SESSIONS if name == "dispatch" else 0)
