"""A sink for flows whose outcomes are appends and nothing else."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
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


# Of one append to a topic; one outcome alone may be larger.
_MOST_BYTES = 16 << 20


class _AppendPartition(StatelessSinkPartition[Outcome]):
    def __init__(self, writer: OutcomeWriter) -> None:
        self._writer = writer

    @override
    def write_batch(self, items: list[Outcome]) -> None:
        for part in _parts(items):
            by_topic: defaultdict[str, list[Entry]] = defaultdict(list)
            for outcome in part:
                for topic, entry in outcome.entries:
                    by_topic[topic].append(entry)
            self._writer.write(list(by_topic.items()), [outcome.source for outcome in part])


def _parts(items: Sequence[Outcome]) -> Iterator[list[Outcome]]:
    """Outcomes of few bytes together, so that no append is larger than a log takes."""
    part: list[Outcome] = []
    size = 0
    for outcome in items:
        more = sum(len(entry.value or b"") for _, entry in outcome.entries)
        if part and size + more > _MOST_BYTES:
            yield part
            part, size = [], 0
        part.append(outcome)
        size += more
    if part:
        yield part


class AppendSink(DynamicSink[Outcome]):
    """Appends outcomes, many together in one append a topic.

    Guarantee: a record is settled only when all its entries are durable; at least once, and once
    where the source says what is `done` already.
    """

    def __init__(self, writer: OutcomeWriter) -> None:
        self._writer = writer

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _AppendPartition:
        return _AppendPartition(self._writer)
