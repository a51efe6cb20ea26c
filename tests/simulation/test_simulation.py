"""Thousands of worlds in which processes die, disks are full and peers break; nothing is lost."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.simulation.world import PromiseBrokenError, World

ROOT = Path(__file__).parents[2]
# Measured: 24 ms of CPU a seed on a machine with other work, so about a minute on one core.
SEEDS = 2_500
BLOCK = 100
MOST_REPORTED = 5
TRACE = "import structlog; structlog.configure(logger_factory=structlog.ReturnLoggerFactory());"
TRACE += "from tests.simulation.test_simulation import traced; print(traced({seed}))"


def traced(seed: int) -> str:
    """What happens in the world of a seed, a line each."""
    world = World(seed, traced=True)
    world.run()
    return "\n".join(world.trace or ())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of seeds, or the one that was asked for."""
    if "seeds" in metafunc.fixturenames:
        alone = metafunc.config.getoption("--seed")
        blocks = [range(n, n + BLOCK) for n in range(0, SEEDS, BLOCK)]
        chosen = [range(alone, alone + 1)] if alone is not None else blocks
        metafunc.parametrize("seeds", chosen, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")


def test_nothing_is_lost_and_only_open_sessions_are_doubled(seeds: Sequence[int]):
    failures: list[str] = []
    for seed in seeds:
        world = World(seed, traced=len(seeds) == 1)
        try:
            world.run()
        except PromiseBrokenError as error:
            if world.trace is not None:
                raise  # with its cause, where something raised
            failures.append(str(error))
        finally:
            print("\n".join(world.trace or ()))
    assert not failures, "\n".join([f"{len(failures)} seeds failed", *failures[:MOST_REPORTED]])


def test_a_seed_is_the_same_world_in_every_process():
    seed = 4
    runs = [
        subprocess.run(
            [sys.executable, "-c", TRACE.format(seed=seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    ]
    assert "killed" in runs[0]
    assert runs[0] == runs[1]


def test_the_worlds_are_full_of_crashes():
    worlds = [World(seed) for seed in range(50)]
    for world in worlds:
        world.run()
    assert sum(world.crashes for world in worlds) > len(worlds)
