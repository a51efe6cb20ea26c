"""Ranges of partitions, read from end to end."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as Place

from connectors.log.kafka.fetching import record_of
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.kafka.unreadable import UNREADABLE, Probe
from connectors.log.port import Record, TopicPartition
from sealwax import clock
from sealwax.errors import LogAwayError, LogPositionError
from sealwax.model.topics import REQUESTED

_AT_ONCE = 1_000
_POLL_S = 0.5
_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - public codes with private names
_OUT_OF_RANGE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001

BoundsOfAll = Callable[[Sequence[TopicPartition]], Mapping[TopicPartition, tuple[int, int]]]
_Ends = dict[TopicPartition, int]


class Scans:
    """Consumers that read a range each; those that are done wait for the next one. Thread-safe."""

    def __init__(self, settings: KafkaSettings, bounds: BoundsOfAll) -> None:
        self._settings = settings
        self._bounds = bounds
        self._lock = threading.Lock()
        self._idle: list[Consumer] = []

    def scan(self, ranges: Mapping[TopicPartition, tuple[int, int]]) -> Iterator[Record]:
        """The records of each partition with start <= offset < end.

        Those of producers that nobody can read are left out: a reader says them.

        Raises:
            LogAwayError: Nothing came for the timeout.
            LogPositionError: A record of ours cannot be read.
        """
        wanted = {}
        for tp, (low, high) in self._bounds(list(ranges)).items():
            start, end = max(ranges[tp][0], low), min(ranges[tp][1], high)
            if start < end:
                wanted[tp] = start, end
        if not wanted:
            return
        consumer = self._take()
        try:
            consumer.assign([self._place(tp, start) for tp, (start, _) in wanted.items()])
            yield from self._read(consumer, {tp: end for tp, (_, end) in wanted.items()})
        finally:
            consumer.unassign()
            with self._lock:
                self._idle.append(consumer)

    def close(self) -> None:
        """Closes the consumers that wait."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> Consumer:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Consumer({
            **self._settings.consumer(),
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        })  # fmt: skip

    def _read(self, consumer: Consumer, ends: _Ends) -> Iterator[Record]:
        """Until every partition has come to its end; takes it from `ends` then."""
        heard_at = clock.monotonic()
        while ends:
            first = consumer.poll(_POLL_S)
            if first is None:
                if clock.monotonic() - heard_at > self._settings.timeout_s:
                    raise LogAwayError(f"{next(iter(ends))} could not be read: no answer")
                continue
            heard_at = clock.monotonic()
            for message in (first, *consumer.consume(_AT_ONCE, 0)):
                topic = (message.topic() or "").removeprefix(self._settings.namespace)
                tp = TopicPartition(topic, message.partition() or 0)
                if tp not in ends:
                    continue
                if message.error() is not None:
                    self._look_at(message, consumer, tp, ends)
                    continue
                offset = message.offset() or 0
                if offset < ends[tp]:
                    yield record_of(message, topic)
                if offset >= ends[tp] - 1:
                    self._done(consumer, tp, ends)

    def _look_at(
        self, message: Message, consumer: Consumer, tp: TopicPartition, ends: _Ends
    ) -> None:
        error = message.error()
        code = None if error is None else error.code()
        if code == _END:
            self._done(consumer, tp, ends)
        elif code == _OUT_OF_RANGE:
            # Deleted meanwhile: on from the new start.
            start, _ = self._bounds([tp])[tp]
            self._go_on_at(start, consumer, tp)
        elif error is not None and code in UNREADABLE:
            batch = message.offset() or 0
            if tp.topic not in REQUESTED:
                raise LogPositionError(f"offset {batch} of {tp} cannot be read: {error.str()}")
            with closing(
                Probe(self._settings, self._settings.namespace + tp.topic, tp.partition)
            ) as probe:
                behind = probe.end_of(batch, self._bounds([tp])[tp][1])
            if behind >= ends[tp]:
                self._done(consumer, tp, ends)
            else:
                self._go_on_at(behind, consumer, tp)

    def _go_on_at(self, offset: int, consumer: Consumer, tp: TopicPartition) -> None:
        consumer.incremental_unassign([self._place(tp)])
        consumer.incremental_assign([self._place(tp, offset)])

    def _done(
        self, consumer: Consumer, tp: TopicPartition, ends: dict[TopicPartition, int]
    ) -> None:
        del ends[tp]
        consumer.incremental_unassign([self._place(tp)])

    def _place(self, tp: TopicPartition, offset: int | None = None) -> Place:
        name = self._settings.namespace + tp.topic
        return Place(name, tp.partition) if offset is None else Place(name, tp.partition, offset)
