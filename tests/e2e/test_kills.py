"""kill -9 at random moments under load, of every process: nothing is lost, and little comes twice.

`make test` runs few rounds, `make soak` ten of each.
"""

import random
import shutil
import signal
import time

import pytest

from tests.support.load import DOMAINS, SEED, SESSIONS, ended_well, interrupt, under_load

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

FULL_ROUNDS = {"dispatch": 10, "render": 10, "api": 10, "analytics": 10, "supervisor": 3}


@pytest.mark.parametrize("name", list(FULL_ROUNDS))
def test_a_kill_loses_nothing_and_doubles_at_most_what_was_in_sessions(tmp_path, name, soak):
    rounds = FULL_ROUNDS[name] if soak else 1
    chance = random.Random(f"{SEED} {name}")
    with under_load(tmp_path) as (platform, sink, load):
        with load.running():
            for _ in range(rounds):
                interrupt(platform, name, signal.SIGKILL, chance)
            time.sleep(1)
        doubled = ended_well(f"kill -9 {name}", rounds, platform, sink, load)
    # A supervisor that is killed takes no process along: they drain.
    assert doubled <= (rounds * DOMAINS * SESSIONS if name == "dispatch" else 0)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", list(FULL_ROUNDS))
def test_a_stop_loses_nothing_and_doubles_nothing(tmp_path, name, soak):
    rounds = FULL_ROUNDS[name] if soak else 1
    chance = random.Random(f"{SEED} stop {name}")
    with under_load(tmp_path) as (platform, sink, load):
        with load.running():
            for _ in range(rounds):
                interrupt(platform, name, signal.SIGTERM, chance)
            time.sleep(1)
        assert ended_well(f"SIGTERM {name}", rounds, platform, sink, load) == 0
    shutil.rmtree(tmp_path)
