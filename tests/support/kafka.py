"""Real Kafka brokers for the tests; one of them for a developer by `make kafka`.

The jars come from deploy/kafka/pom.xml (`make target/kafka/.libs` puts them where they are looked
for). A cluster of one starts in some four seconds.
"""

import argparse
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.waiting import wait_until

LIBS = Path(__file__).parents[2] / "target" / "kafka" / "libs"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_STARTS_IN_S = 120
# Small, since several brokers share a machine with what is tested on them.
_JAVA = (
    "java",
    "-Xms128m",
    "-Xmx640m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Broker:
    """A broker, which is a controller too. It keeps its ports and data over restarts."""

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str],
        port: int,
        client: Mapping[str, str] = _NOTHING,
    ) -> None:
        self.port = port
        self._client = client
        self.directory = directory
        self._file = directory / "server.properties"
        directory.mkdir(parents=True, exist_ok=True)
        self._file.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def format(self, cluster_id: str, scram: str) -> None:
        users = ["--add-scram", scram] if scram else []
        tool = _java("kafka.tools.StorageTool")
        subprocess.run(
            [*tool, "format", "-t", cluster_id, "-c", self._file, *users],
            check=True, capture_output=True, timeout=_STARTS_IN_S,
        )  # fmt: skip

    def start(self) -> None:
        """Starts it without waiting."""
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*_java("kafka.Kafka"), self._file], stdout=output, stderr=output
            )

    def wait_until_up(self) -> None:
        def is_up() -> bool:
            assert self._process
            assert self._process.poll() is None, self.output()
            with suppress(KafkaException):
                AdminClient(_client(self.address) | dict(self._client)).list_topics(timeout=2)
                return True
            return False

        wait_until(is_up, _STARTS_IN_S, f"the broker at {self.address}")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Asks it to shut down, and waits; a broker without its quorum needs to be killed."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def output(self) -> str:
        return (self.directory / "output").read_text(errors="replace")[-4_000:]

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(20)


class Cluster:
    """Some brokers."""

    def __init__(self, brokers: Sequence[Broker]) -> None:
        self.brokers = tuple(brokers)

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    def admin(self) -> AdminClient:
        return AdminClient(_client(self.bootstrap))


@contextmanager
def running_kafka(
    count: int = 1,
    properties: Mapping[str, str] = _NOTHING,
    *,
    directory: Path | None = None,
    ports: Sequence[int] = (),
    proxied: tuple[int, int] | None = None,
    client: Mapping[str, str] = _NOTHING,
    scram: str = "",
) -> Iterator[Cluster]:
    """Brokers that run until the block ends.

    Args:
        count: How many.
        properties: Of all brokers, over the ones below.
        directory: Where their data stays; without one it goes with the block.
        ports: Where clients reach them; chosen where there are none.
        proxied: A further port of the first broker, and the one that its clients are told
            instead: that of a proxy in between.
        client: Properties that a client needs.
        scram: A user, as Kafka's `--add-scram` takes it.
    """
    assert LIBS.is_dir(), "the jars are missing: run make target/kafka/.libs"
    # ClickHouse in this process moves Python's folder for temporary files, so it is named.
    with tempfile.TemporaryDirectory(prefix="kafka-", dir="/tmp") as temporary:
        root = directory or Path(temporary)
        ports = list(ports) or free_ports(count)
        quorum, inner = free_ports(count), free_ports(count)
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(quorum, start=1))
        brokers = []
        for n, port in enumerate(ports, start=1):
            own = {
                "node.id": f"{n}",
                "process.roles": "broker,controller",
                "controller.quorum.voters": voters,
                "controller.listener.names": "CONTROLLER",
                "listeners": f"CLIENT://127.0.0.1:{port},INNER://127.0.0.1:{inner[n - 1]},"
                f"CONTROLLER://127.0.0.1:{quorum[n - 1]}",
                "advertised.listeners": f"CLIENT://127.0.0.1:{port},"
                f"INNER://127.0.0.1:{inner[n - 1]}",
                "listener.security.protocol.map": "CLIENT:PLAINTEXT,INNER:PLAINTEXT,"
                "CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "INNER",
                "log.dirs": str(root / f"broker-{n}" / "data"),
            }
            if proxied and n == 1:
                own["listeners"] += f",PROXIED://127.0.0.1:{proxied[0]}"
                own["advertised.listeners"] += f",PROXIED://127.0.0.1:{proxied[1]}"
                own["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
            common = {
                "auto.create.topics.enable": "false",
                "default.replication.factor": f"{min(count, 3)}",
                "min.insync.replicas": f"{2 if count >= 3 else 1}",
                "offsets.topic.replication.factor": f"{min(count, 3)}",
                "offsets.topic.num.partitions": "4",
                "transaction.state.log.replication.factor": f"{min(count, 3)}",
                "transaction.state.log.num.partitions": "4",
                "share.coordinator.state.topic.replication.factor": f"{min(count, 3)}",
                "group.initial.rebalance.delay.ms": "0",
                # A killed broker's partitions move within seconds.
                "broker.heartbeat.interval.ms": "500",
                "broker.session.timeout.ms": "3000",
                "log.segment.delete.delay.ms": "1000",
            }
            settings = own | common | dict(properties)
            brokers.append(Broker(root / f"broker-{n}", settings, port, client))
        fresh = not (root / "broker-1" / "data").exists()
        if fresh:
            # With a bit set, so that the tool does not take it for an option: those begin with `-`.
            cluster_id = urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
            for broker in brokers:
                broker.format(cluster_id, scram)
        cluster = Cluster(brokers)
        try:
            for broker in brokers:
                broker.start()
            for broker in brokers:
                broker.wait_until_up()
            yield cluster
        finally:
            for broker in brokers:
                broker.kill()


def namespace() -> str:
    """A name that no other test has, before the names of topics and groups on a shared broker."""
    return f"t{secrets.token_hex(5)}."


def tool(main: str, *arguments: str) -> str:
    """What one of Kafka's own tools prints; `main` is its class."""
    run = subprocess.run(
        [*_java(main), *arguments], capture_output=True, text=True, timeout=_STARTS_IN_S
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def _java(main: str) -> list[str]:
    return [*_JAVA, "-cp", f"{LIBS}/*", main]


def _client(bootstrap: str) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": bootstrap, "log_level": 0}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one broker until it is told to end."""
    parser = argparse.ArgumentParser(description="A Kafka broker on the loopback, for trying out.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--dir", type=Path, default=Path("kafka-data"))
    options = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ended.set())
    print(f"Starting Kafka in {options.dir}", flush=True)
    with running_kafka(1, directory=options.dir.absolute(), ports=[options.port]) as cluster:
        print(
            f"Kafka listens on {cluster.bootstrap}. In another terminal:\n\n"
            f"  KAFKA_BOOTSTRAP_SERVERS={cluster.bootstrap} make up\n\n"
            "Ctrl-C ends it; the data stays.",
            flush=True,
        )
        while not ended.wait(1):
            os.kill(cluster.brokers[0].pid, 0)
        cluster.brokers[0].stop()


if __name__ == "__main__":
    main()
