"""The platform on Kafka, Valkey and PostgreSQL at once, each of which is killed under load."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.dispatchers import dispatchers
from tests.support.kafka import namespace
from tests.support.load import DOMAINS, FAST, SEED, ended_well, interrupt, under_load
from tests.support.log_view import use_kafka
from tests.support.postgres import Postgres, database, postgres_server
from tests.support.valkey import Valkey, running_valkey

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

PARTITIONS = 4


@contextmanager
def services(tmp_path: Path, bootstrap: str) -> Iterator[tuple[dict[str, str], Valkey, Postgres]]:
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        postgres_server() as postgres,
        database(postgres.url) as url,
    ):
        settings = use_kafka(tmp_path / "data", bootstrap, namespace(), PARTITIONS)
        yield {**settings, "REDIS_URL": valkey.url, "DATABASE_URL": url}, valkey, postgres


@pytest.mark.parametrize("name", ["valkey", "postgresql", "dispatch", "render", "api"])
def test_a_kill_loses_nothing_with_two_dispatchers_on_services(tmp_path, name, soak, kafka):
    if not soak and name in ("render", "api"):
        pytest.skip("as on the embedded log, where `make test` kills them; `make soak` does here")
    rounds = 5 if soak else 1
    chance = random.Random(f"{SEED} {name}")
    with (
        services(tmp_path, kafka.bootstrap) as (settings, valkey, postgres),
        under_load(tmp_path, settings, FAST) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1),
    ):
        began_at = time.monotonic()
        with load.running():
            for _ in range(rounds):
                if name == "valkey":
                    time.sleep(chance.uniform(0.5, 2.5))
                    valkey.kill()
                    time.sleep(chance.uniform(0, 3))
                    valkey.start()
                elif name == "postgresql":
                    time.sleep(chance.uniform(0.5, 2.5))
                    postgres.kill()
                    time.sleep(chance.uniform(0, 3))
                    postgres.start()
                else:
                    interrupt(platform, name, signal.SIGKILL, chance)
            time.sleep(2)
        accepted, seconds = len(load.accepted), time.monotonic() - began_at
        doubled = ended_well(f"services, kill -9 {name}", rounds, platform, sink, load)
    print(f"{accepted / seconds:.0f} mails/s were accepted")
    assert doubled <= (rounds * DOMAINS * FAST.sessions if name == "dispatch" else 0)
