"""The platform on Kafka, Valkey and PostgreSQL at once; each part of it is killed at 500 mails/s."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.dispatchers import dispatchers
from tests.support.kafka import Cluster, namespace, running_kafka
from tests.support.load import DOMAINS, FAST, SEED, Load, ended_well, interrupt, under_load
from tests.support.log_view import use_kafka
from tests.support.platform import Platform
from tests.support.postgres import Postgres, database, postgres_server
from tests.support.sink import Sink
from tests.support.valkey import Valkey, running_valkey
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

PARTITIONS = 4
PROCESSES = ("dispatch", "render", "api")
# Those that are killed have a cluster of their own.
BROKERS = {"the broker": 1, "one broker of three": 3}


class Server(Protocol):
    def kill(self) -> None: ...

    def start(self) -> None: ...


@contextmanager
def services(tmp_path: Path, bootstrap: str) -> Iterator[tuple[dict[str, str], Valkey, Postgres]]:
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        postgres_server() as postgres,
        database(postgres.url) as url,
    ):
        settings = use_kafka(tmp_path / "data", bootstrap, namespace(), PARTITIONS)
        yield {**settings, "REDIS_URL": valkey.url, "DATABASE_URL": url}, valkey, postgres


def away_for_a_moment(server: Server, chance: random.Random, most_s: float) -> None:
    time.sleep(chance.uniform(0.5, 2.5))
    server.kill()
    time.sleep(chance.uniform(0, most_s))
    server.start()


def away_until_others_lead(
    cluster: Cluster, number: int, sink: Sink, chance: random.Random
) -> None:
    broker = cluster.brokers[number % len(cluster.brokers)]
    time.sleep(chance.uniform(0.5, 2.5))
    broker.kill()
    wait_for_more(sink.count, 40)
    broker.start()
    broker.wait_until_up()
    wait_until(lambda: in_sync(cluster), 120, "the broker to catch up")


def wait_for_more(count: Callable[[], int], more: int) -> None:
    before = count()
    wait_until(lambda: count() >= before + more, 120, "mail to go on")


def in_sync(cluster: Cluster) -> bool:
    described = cluster.admin().list_topics(timeout=10).topics.values()
    return all(
        len(part.isrs) == len(part.replicas)
        for topic in described
        for part in topic.partitions.values()
    )


@pytest.mark.parametrize("name", ["valkey", "postgresql", *PROCESSES, *BROKERS])
def test_a_kill_loses_nothing_with_two_dispatchers_on_services(tmp_path, name, soak, kafka):
    if not soak and name in ("render", "api"):
        pytest.skip("as on the embedded log, where `make test` kills them; `make soak` does here")
    rounds = 5 if soak else 1
    chance = random.Random(f"{SEED} {name}")
    count = BROKERS.get(name)
    with (
        running_kafka(count) if count else nullcontext(kafka) as cluster,
        services(tmp_path, cluster.bootstrap) as (settings, valkey, postgres),
        under_load(tmp_path, settings, FAST) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1),
    ):

        def one_round(number: int) -> None:
            if name == "valkey":
                away_for_a_moment(valkey, chance, 3)
            elif name == "postgresql":
                away_for_a_moment(postgres, chance, 3)
            elif name == "the broker":
                away_for_a_moment(cluster.brokers[0], chance, 5)
                cluster.brokers[0].wait_until_up()
                wait_for_more(lambda: len(load.accepted), 1)
            elif name == "one broker of three":
                away_until_others_lead(cluster, number, sink, chance)
            else:
                interrupt(platform, name, signal.SIGKILL, chance)

        doubled = killed(name, rounds, one_round, (platform, sink, load))
    # A session that is open when its dispatcher or its log is gone may be open to each of them.
    at_risk = rounds * DOMAINS * FAST.sessions
    assert doubled <= (at_risk if name in ("dispatch", *BROKERS) else 0)


def killed(
    name: str,
    rounds: int,
    one_round: Callable[[int], None],
    running: tuple[Platform, Sink, Load],
) -> int:
    """Runs the rounds under load; how many mails came twice."""
    platform, sink, load = running
    began_at = time.monotonic()
    with load.running():
        for number in range(rounds):
            one_round(number)
        time.sleep(2)
    accepted, seconds = len(load.accepted), time.monotonic() - began_at
    doubled = ended_well(f"services, kill -9 {name}", rounds, platform, sink, load)
    print(f"{accepted / seconds:.0f} mails/s were accepted")
    return doubled
