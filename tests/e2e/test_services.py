"""The platform on Kafka, Valkey and PostgreSQL at once; each part of it is killed at 500 mails/s."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import PartitionMetadata

from tests.support.dispatchers import Dispatcher, dispatchers
from tests.support.kafka import Cluster, namespace, running_kafka
from tests.support.load import (
    CALM,
    DOMAINS,
    FAST,
    SEED,
    Load,
    ended_well,
    interrupt,
    quiet,
    under_load,
)
from tests.support.log_view import use_kafka
from tests.support.platform import Platform
from tests.support.postgres import Postgres, database, postgres_server
from tests.support.sink import Sink
from tests.support.valkey import Valkey, running_valkey
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(1_200)]

PARTITIONS = 4
SESSIONS = DOMAINS * FAST.sessions  # that are open at once
# Those that are killed have a cluster of their own, of so many.
BROKERS = {"the broker": 1, "one broker of three": 3}
# A session that is open when its dispatcher or its log is gone may be open to each of them.
MAY_DOUBLE = ("dispatch", *BROKERS)
ALL = ("valkey", "postgresql", "render", "api", *MAY_DOUBLE)
# Those last that may double.
IN_TURN = tuple(name for name in ALL if name != "one broker of three")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In full each part has services of its own; else all that can come in turn on one."""
    alone = [(name,) for name in ALL]
    soak = metafunc.config.getoption("--soak")
    metafunc.parametrize("names", alone if soak else [IN_TURN, alone[-1]], ids="-".join)


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


def kill_one_of_two(platform: Platform, further: Dispatcher, chance: random.Random) -> None:
    """kill -9 of a dispatcher: the platform's own, or the one beside it."""
    if chance.random() < 0.5:
        interrupt(platform, "dispatch", signal.SIGKILL, chance)
        return
    time.sleep(chance.uniform(0.5, 2.5))
    further.kill()
    further.start()
    further.wait_until_ready()


def away_until_others_lead(cluster: Cluster, sink: Sink, load: Load, chance: random.Random) -> None:
    """kill -9 of the broker that leads most, until mail goes its whole way without it."""
    number, moved = leaders(cluster).most_common(1)[0]
    broker = cluster.brokers[number - 1]
    others = Cluster([one for one in cluster.brokers if one is not broker])
    time.sleep(chance.uniform(0.5, 2.5))
    broker.kill()
    wait_until(lambda: leaders(others).keys() <= {1, 2, 3} - {number}, 120, "others to lead", 0.5)
    print(f"{moved} partitions moved from broker {number}")
    accepted, before = len(load.accepted), sink.count()
    wait_until(lambda: len(load.accepted) >= accepted + FAST.batch, 120, "mail to be accepted")
    fresh = set(load.accepted[accepted:])
    wait_until(lambda: fresh <= sink.received().keys(), 120, "it to come", 0.2)
    wait_until(lambda: sink.count() > before + SESSIONS, 120, "more than sessions had in hand")
    broker.start()
    broker.wait_until_up()
    wait_until(lambda: in_sync(cluster), 120, "the broker to catch up", 0.5)


def placed(cluster: Cluster) -> list[PartitionMetadata]:
    """Where all partitions are; none while no broker can say it."""
    with suppress(KafkaException):
        topics = cluster.admin().list_topics(timeout=10).topics.values()
        return [part for topic in topics for part in topic.partitions.values()]
    return []


def leaders(cluster: Cluster) -> Counter[int]:
    """How many partitions each broker leads; -1 leads those that nobody does."""
    return Counter(part.leader for part in placed(cluster)) or Counter([-1])


def in_sync(cluster: Cluster) -> bool:
    parts = placed(cluster)
    return bool(parts) and all(len(part.isrs) == len(part.replicas) for part in parts)


def wait_for_more(count: Callable[[], int]) -> None:
    before = count()
    wait_until(lambda: count() > before, 120, "mail to be accepted")


def rate(count: Callable[[], int], first: int, seconds: float) -> float:
    """Mails per second from when all is in swing."""
    wait_until(lambda: count() >= first, 120, "mail to flow")
    before, since = count(), time.monotonic()
    time.sleep(seconds)
    return (count() - before) / (time.monotonic() - since)


def test_a_kill_loses_nothing_with_two_dispatchers_on_services(
    tmp_path, names, soak, kafka, unhurried
):
    rounds = 5 if soak else 1
    brokers = max(BROKERS.get(name, 0) for name in names)
    pace = FAST if soak else CALM
    at_risk = rounds * DOMAINS * pace.sessions * sum(name in MAY_DOUBLE for name in names)
    patience = {} if names[0] in MAY_DOUBLE else unhurried
    with (
        running_kafka(brokers) if brokers else nullcontext(kafka) as cluster,
        services(tmp_path, cluster.bootstrap) as (settings, valkey, postgres),
        under_load(tmp_path, {**settings, **patience}, pace) as (platform, sink, load),
        dispatchers(tmp_path, platform.environment, 1) as (further,),
    ):
        parts = Parts(platform, further, cluster, valkey, postgres, sink, load)
        for name in names:
            killed(name, rounds, parts, 20 if soak else 3)
            if name not in MAY_DOUBLE and name != names[-1]:
                load.wait_for_all()
                wait_until(lambda: quiet(platform), 240, "all outcomes", 0.5)
                assert load.doubled() == 0, name
        what = f"services, kill -9 {', '.join(names)}"
        doubled = ended_well(what, rounds * len(names), platform, sink, load)
        # No recipient has two mails of the load, whatever their ids: calls were repeated by key.
        rcpts = Counter(rcpt for entry in sink.index() for rcpt in entry["rcpts"])
    twice = sum(n - 1 for n in rcpts.values())
    print(f"{load.repeated} calls were repeated, {twice} mails came twice to their recipients")
    assert max(doubled, twice) <= at_risk


class Parts(NamedTuple):
    """What runs, to be killed."""

    platform: Platform
    further: Dispatcher
    cluster: Cluster
    valkey: Valkey
    postgres: Postgres
    sink: Sink
    load: Load

    def kill(self, name: str, chance: random.Random) -> None:
        """kill -9 of one of them, until it, or another one, is there again."""
        match name:
            case "valkey":
                away_for_a_moment(self.valkey, chance, 3)
            case "postgresql":
                # Longer than what was looked up is remembered.
                away_for_a_moment(self.postgres, chance, 8)
            case "the broker":
                away_for_a_moment(self.cluster.brokers[0], chance, 5)
                self.cluster.brokers[0].wait_until_up()
            case "one broker of three":
                away_until_others_lead(self.cluster, self.sink, self.load, chance)
            case "dispatch":
                kill_one_of_two(self.platform, self.further, chance)
            case _:
                interrupt(self.platform, name, signal.SIGKILL, chance)


def killed(name: str, rounds: int, parts: Parts, seconds: float) -> None:
    """Runs the rounds under load, and prints how fast mail came before them and in all."""
    sink, load, chance = parts.sink, parts.load, random.Random(f"{SEED} {name}")
    began_at, before = time.monotonic(), len(load.accepted)
    with load.running():
        undisturbed = rate(sink.count, sink.count() + 2 * load.pace.ahead, seconds)
        for _ in range(rounds):
            parts.kill(name, chance)
            # The next kill meets a platform that works, and so does the end.
            wait_for_more(lambda: len(load.accepted))
        time.sleep(2)
    per_s = (len(load.accepted) - before) / (time.monotonic() - began_at)
    print(f"\n{name}: {undisturbed:.0f} mails/s with nothing down, {per_s:.0f} mails/s in all")
