"""What stands in the log of a platform, read beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.log import LogSettings, open_log
from connectors.log.port import Log, Record, TopicPartition
from sealwax.model import topics

DISPATCHED = (*topics.READY, *topics.RETRY)


@contextmanager
def opened(data_dir: Path) -> Iterator[Log]:
    """The log of a data directory; the platform may run."""
    log = open_log(LogSettings(data_dir / "log"))
    try:
        yield log
    finally:
        log.close()


def partitions(log: Log, *names: str) -> list[TopicPartition]:
    """All partitions of these topics."""
    return [TopicPartition(name, n) for name in names for n in range(log.partitions(name))]


def records(log: Log, *names: str) -> Iterator[Record]:
    """All records of these topics."""
    for tp in partitions(log, *names):
        yield from log.scan(tp, log.start_offset(tp), log.end_offset(tp))


def unsettled(data_dir: Path, group: str = "dispatch", *names: str) -> int:
    """How many records stand at or above the group's watermarks."""
    with opened(data_dir) as log:
        total = 0
        for tp in partitions(log, *(names or DISPATCHED)):
            committed = log.committed(group, tp)
            total += log.end_offset(tp) - (committed.offset if committed else 0)
        return total


def leases(data_dir: Path) -> int:
    """How many leases the delay topics hold."""
    with opened(data_dir) as log:
        found = records(log, *topics.RETRY)
        return sum(name == "lease" for record in found for name, _ in record.headers)
