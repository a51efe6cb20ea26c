"""kill -9 at random moments under load, of every process: nothing is lost, and little comes twice.

`make test` interrupts each once, one after the other, and `make soak` each by itself ten times.
"""

import random
import shutil
import signal
import time
from collections.abc import Sequence

import pytest

from tests.support.load import (
    DOMAINS,
    SEED,
    SESSIONS,
    Load,
    ended_well,
    interrupt,
    quiet,
    under_load,
)
from tests.support.platform import Platform
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

FULL_ROUNDS = {"dispatch": 10, "render": 10, "api": 10, "analytics": 10, "supervisor": 3}


# Dispatch last: nothing that is doubled before it is its doing.
IN_TURN = ("render", "api", "analytics", "supervisor", "dispatch")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In full each process has a platform of its own; else all come in turn on one."""
    soak = metafunc.config.getoption("--soak")
    metafunc.parametrize(
        "names", [(name,) for name in FULL_ROUNDS] if soak else [IN_TURN], ids="-".join
    )


def test_a_kill_loses_nothing_and_doubles_at_most_what_was_in_sessions(tmp_path, names, soak):
    with under_load(tmp_path) as (platform, sink, load):
        rounds = interrupted(names, signal.SIGKILL, platform, load, soak=soak)
        doubled = ended_well(f"kill -9 {', '.join(names)}", rounds, platform, sink, load)
    # A supervisor that is killed takes no process along: they drain.
    of_dispatch = (FULL_ROUNDS["dispatch"] if soak else 1) if "dispatch" in names else 0
    assert doubled <= of_dispatch * DOMAINS * SESSIONS
    shutil.rmtree(tmp_path)


def test_a_stop_loses_nothing_and_doubles_nothing(tmp_path, names, soak):
    with under_load(tmp_path) as (platform, sink, load):
        rounds = interrupted(names, signal.SIGTERM, platform, load, soak=soak)
        assert ended_well(f"SIGTERM {', '.join(names)}", rounds, platform, sink, load) == 0
    shutil.rmtree(tmp_path)


def interrupted(
    names: Sequence[str], number: signal.Signals, platform: Platform, load: Load, *, soak: bool
) -> int:
    """Signals to one process after the other under load; how many."""
    done = 0
    for name in names:
        chance = random.Random(f"{SEED} {number} {name}")
        with load.running():
            for _ in range(FULL_ROUNDS[name] if soak else 1):
                interrupt(platform, name, number, chance)
                done += 1
            time.sleep(1)
        if name != names[-1]:
            load.wait_for_all()
            wait_until(lambda: quiet(platform), 240, "all outcomes", 0.5)
            assert load.doubled() == 0, name
    return done
