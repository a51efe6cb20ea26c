"""The adapters of the log port that the conformance suite runs over."""

from hashlib import sha256
from pathlib import Path

from connectors.log import KafkaSettings, LogSettings, open_log
from connectors.log.port import Log

PARTITIONS = 4

# Factories by name: given a directory of its own, each opens the same log every time it is called
# with it, also from another process.
FACTORIES = {
    "kafka": "tests.support.log_adapters:open_kafka",
    "sqlite": "tests.support.log_adapters:open_sqlite",
}
_BOOTSTRAP = "kafka-bootstrap"


def open_sqlite(directory: Path) -> Log:
    # Small segments, so that every test of the suite crosses some.
    return open_log(LogSettings(directory / "log", PARTITIONS, segment_bytes=256 * 1024))


def open_kafka(directory: Path) -> Log:
    namespace = sha256(str(directory).encode()).hexdigest()[:12]
    return open_log(
        KafkaSettings((directory / _BOOTSTRAP).read_text(), f"{namespace}.", partitions=PARTITIONS)
    )


def use_broker(directory: Path, bootstrap: str) -> None:
    """Says where the broker of a directory's Kafka log is."""
    (directory / _BOOTSTRAP).write_text(bootstrap)
