"""A sink for flows whose outcomes are appends and nothing else."""

from collections import defaultdict
from typing import NamedTuple

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from typing_extensions import override

from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry
from sealwax.model.delivery import Position


class Outcome(NamedTuple):
    """Everything that settles one source record: topic and entry each."""

    source: Position
    entries: tuple[tuple[str, Entry], ...]


class _AppendPartition(StatelessSinkPartition[Outcome]):
    def __init__(self, writer: OutcomeWriter) -> None:
        self._writer = writer

    @override
    def write_batch(self, items: list[Outcome]) -> None:
        by_topic: defaultdict[str, list[Entry]] = defaultdict(list)
        for outcome in items:
            for topic, entry in outcome.entries:
                by_topic[topic].append(entry)
        self._writer.write(list(by_topic.items()), [outcome.source for outcome in items])


class AppendSink(DynamicSink[Outcome]):
    """Appends outcomes, one append a topic and batch.

    Guarantee: a record is settled only when all its entries are durable; at least once, and once
    where the source says what is `done` already.
    """

    def __init__(self, writer: OutcomeWriter) -> None:
        self._writer = writer

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _AppendPartition:
        return _AppendPartition(self._writer)
