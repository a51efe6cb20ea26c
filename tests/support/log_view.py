"""What stands in the log of a platform, read beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.log import KafkaSettings, LogSettings, open_log
from connectors.log.fences import admitted
from connectors.log.port import Log, Record, TopicPartition
from sealwax.model import topics

_KAFKA = "kafka-of-the-test"
DISPATCHED = (*topics.READY, *topics.RETRY)


def use_kafka(data_dir: Path, bootstrap: str, namespace: str, partitions: int) -> dict[str, str]:
    """Says that a platform's log is in Kafka; its settings."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data_dir / _KAFKA).write_text(f"{bootstrap} {namespace} {partitions}")
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "SEALWAX_KAFKA_NAMESPACE": namespace,
        "SEALWAX_PARTITIONS": str(partitions),
    }


def settings_of(data_dir: Path) -> LogSettings | KafkaSettings:
    """How the log of a data directory is opened."""
    marker = data_dir / _KAFKA
    if not marker.exists():
        return LogSettings(data_dir / "log")
    bootstrap, namespace, partitions = marker.read_text().split(" ")
    return KafkaSettings(bootstrap, namespace, partitions=int(partitions))


@contextmanager
def opened(data_dir: Path) -> Iterator[Log]:
    """The log of a data directory; the platform may run."""
    log = open_log(settings_of(data_dir))
    try:
        yield log
    finally:
        log.close()


def partitions(log: Log, *names: str) -> list[TopicPartition]:
    """All partitions of these topics."""
    return [TopicPartition(name, n) for name in names for n in range(log.partitions(name))]


def records(log: Log, *names: str) -> Iterator[Record]:
    """All records of these topics that count."""
    for tp in partitions(log, *names):
        yield from admitted(log.scan(tp, log.start_offset(tp), log.end_offset(tp)), tp)


def waiting(log: Log, group: str, *names: str) -> int:
    """How many records of these topics stand at or above the group's watermarks."""
    tps = partitions(log, *names)
    ends, committed = log.end_offsets(tps), log.committed_all(group, tps)
    positions = {tp: at.offset if at else 0 for tp, at in committed.items()}
    return sum(ends[tp] - positions[tp] for tp in tps)


def unsettled(data_dir: Path, group: str = "dispatch", *names: str) -> int:
    """The same by the data directory; all that is dispatched, where no topic is named."""
    with opened(data_dir) as log:
        return waiting(log, group, *(names or DISPATCHED))


def leases(data_dir: Path) -> int:
    """How many leases the delay topics hold."""
    with opened(data_dir) as log:
        found = records(log, *topics.RETRY)
        return sum(name == "lease" for record in found for name, _ in record.headers)
