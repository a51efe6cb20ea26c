"""The Kafka adapter of the log port."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import OffsetSpec
from typing_extensions import override

from connectors.log.kafka.asking import Asking
from connectors.log.kafka.fetching import Fetchers
from connectors.log.kafka.groups import Groups, Member
from connectors.log.kafka.producing import Appends
from connectors.log.kafka.reaching import refused
from connectors.log.kafka.scanning import Scans
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.kafka.topics import Topics
from connectors.log.port import (
    Committed,
    Entry,
    Log,
    OnDurable,
    Reader,
    Record,
    TopicPartition,
)
from sealwax.errors import LogClosedError
from sealwax.model.topics import TopicSpec

_FATAL_STATUS = 70  # EX_SOFTWARE: the supervisor starts the process anew

logger = structlog.get_logger(__name__)


def _end_the_process(reason: str) -> None:
    logger.critical("the Kafka producer cannot go on, the process ends", error=reason)
    os._exit(_FATAL_STATUS)


class KafkaLog(Log):
    """The log in a Kafka cluster.

    Guarantee: what `on_durable` reported is on all in-sync replicas. Nothing is skipped or read
    again by the client's own choice (R4).
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Opens it, without asking the cluster for anything.

        Raises:
            ConfigurationError: The client library does not take a property.
        """
        self.settings = settings
        try:
            self._asking = Asking(settings.common(), settings.timeout_s)
            self._appends = Appends(settings, _end_the_process)
        except KafkaException as error:
            raise refused(settings, error) from error
        self.topics = Topics(settings, self._asking)
        self._groups = Groups(settings, self._asking)
        self._fetchers = Fetchers(settings, self._bounds)
        self._scans = Scans(settings, self._bounds_of_all)
        self._lock = threading.Lock()
        self._closed = False

    @override
    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        self.topics.create(specs)

    @override
    def partitions(self, topic: str) -> int:
        return self.topics.find(topic).partitions

    @override
    def incarnation(self, topic: str) -> str:
        return self.topics.find(topic).incarnation

    @override
    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        partitions = self.partitions(topic)
        for entry in entries:
            if not 0 <= entry.partition < partitions:
                raise ValueError(f"{topic} has no partition {entry.partition}")
        self._appends.append(self.settings.namespace + topic, entries, on_durable)

    @override
    def reader(self, tp: TopicPartition, offset: int) -> Reader:
        self._check(tp)
        return self._fetchers.reader(tp, offset)

    @override
    def scan(self, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
        return self.scan_all({tp: (start, end)})

    @override
    def scan_all(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> Iterator[Record]:
        for tp in ranges:
            self._check(tp)
        return self._scans.scan(ranges)

    @override
    def start_offset(self, tp: TopicPartition) -> int:
        return self._offsets([tp], OffsetSpec.earliest())[tp]

    @override
    def end_offset(self, tp: TopicPartition) -> int:
        return self._offsets([tp], OffsetSpec.latest())[tp]

    @override
    def start_offsets(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self._offsets(tps, OffsetSpec.earliest())

    @override
    def end_offsets(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        return self._offsets(tps, OffsetSpec.latest())

    @override
    def offset_since(self, tp: TopicPartition, stamp_ms: int) -> int:
        found = self._offsets([tp], OffsetSpec.for_timestamp(stamp_ms))[tp]
        return self.end_offset(tp) if found < 0 else found

    @override
    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        return self._groups.committed(group, [tp])[tp]

    @override
    def committed_all(
        self, group: str, tps: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, Committed | None]:
        return self._groups.committed(group, list(tps))

    @override
    def commit(
        self, group: str, positions: Mapping[TopicPartition, Committed], *, durable: bool = True
    ) -> None:
        self._groups.commit(group, positions)

    @override
    def groups(self) -> Sequence[str]:
        return self._groups.names()

    def processes(self, flow: str) -> list[Member]:
        """The processes in the group of a flow, wherever they run."""
        return self._groups.processes(flow)

    def members(self) -> Sequence[str]:
        """The groups of flows that have a process on this log, or had one a moment ago."""
        return self._groups.working()

    @override
    def lag(self, group: str, tp: TopicPartition) -> int:
        committed, start = self.committed(group, tp), self.start_offset(tp)
        position = max(start, committed.offset) if committed else start
        return max(0, self.end_offset(tp) - position)

    @override
    def delete_before(self, tp: TopicPartition, offset: int) -> None:
        below = min(offset, self.end_offset(tp))
        if below <= self.start_offset(tp):
            return
        place = self._place(tp, below)
        self._asking.ask(
            lambda admin, seconds: admin.delete_records([place], request_timeout=seconds)
        )

    @override
    def compact(self, topic: str) -> None:
        """The brokers compact by themselves."""
        self.topics.find(topic)

    @override
    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._appends.close()
        self._fetchers.close()
        self._scans.close()

    def _check(self, tp: TopicPartition) -> None:
        if self._closed:
            raise LogClosedError("the log is closed")
        if not 0 <= tp.partition < self.partitions(tp.topic):
            raise KeyError(tp)

    def _bounds(self, tp: TopicPartition) -> tuple[int, int]:
        return self._bounds_of_all([tp])[tp]

    def _bounds_of_all(
        self, tps: Sequence[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        starts, ends = self.start_offsets(tps), self.end_offsets(tps)
        return {tp: (starts[tp], ends[tp]) for tp in tps}

    def _offsets(
        self, tps: Iterable[TopicPartition], spec: OffsetSpec
    ) -> dict[TopicPartition, int]:
        """One request to each broker, whatever the number of partitions."""
        places = {self._place(tp): tp for tp in tps}
        if not places:
            return {}
        for tp in places.values():
            self._check(tp)
        wanted = dict.fromkeys(places, spec)
        is_a_bound = spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        answers = self._asking.ask(
            lambda admin, seconds: admin.list_offsets(wanted, request_timeout=seconds),
            # Below 0 without an error while a leader moves (seen): taken for an end, it was in
            # each mark from then on, and nothing could be committed.
            usable=lambda answer: answer.offset >= 0 or not is_a_bound,
        )
        return {places[place]: answer.offset for place, answer in answers.items()}

    def _place(self, tp: TopicPartition, offset: int | None = None) -> Place:
        name = self.settings.namespace + tp.topic
        return Place(name, tp.partition) if offset is None else Place(name, tp.partition, offset)
