"""Filling and reading a log in tests."""

from collections.abc import Sequence

from connectors.log.port import Entry, Log, Reader, Record, TopicPartition
from tests.support.waiting import wait_until

TOPIC = "orders"
COMPACTED = "settings"
TP = TopicPartition(TOPIC, 1)


def fill(log: Log, count: int, size: int = 10, tp: TopicPartition = TP) -> list[int]:
    """Appends `count` records with values `0:xxx`, `1:xxx`, ...; returns their offsets."""
    entries = [Entry(tp.partition, b"k", b"%d:" % n + b"x" * size) for n in range(count)]
    return list(log.append_wait(tp.topic, entries))


def read_until(reader: Reader, count: int, timeout_s: float = 10) -> list[Record]:
    """Reads until `count` records came; fails when they do not."""
    records: list[Record] = []

    def enough() -> bool:
        records.extend(reader.read(count - len(records), 1 << 22))
        return len(records) >= count

    wait_until(enough, timeout_s, f"{count} records")
    return records


def everything(log: Log, tp: TopicPartition) -> list[Record]:
    """What the partition holds now."""
    return list(log.scan(tp, 0, log.end_offset(tp)))


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


class Acknowledged:
    """Collects what `on_durable` was called with."""

    def __init__(self) -> None:
        self.results: list[Sequence[int] | Exception] = []

    def __call__(self, result: Sequence[int] | Exception) -> None:
        self.results.append(result)

    def wait(self, count: int) -> list[Sequence[int] | Exception]:
        wait_until(lambda: len(self.results) >= count, 10, f"{count} acknowledgements")
        return self.results
