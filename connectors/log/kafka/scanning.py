"""Ranges of partitions, read from end to end."""

import threading
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Place

from connectors.log.kafka.fetching import Bounds, record_of
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import Record, TopicPartition
from sealwax import clock
from sealwax.errors import LogAwayError

_AT_ONCE = 1_000
_POLL_S = 0.5
_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - public codes with private names
_OUT_OF_RANGE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001


class Scans:
    """Consumers that read a range each; those that are done wait for the next one. Thread-safe."""

    def __init__(self, settings: KafkaSettings, bounds: Bounds) -> None:
        self._settings = settings
        self._bounds = bounds
        self._lock = threading.Lock()
        self._idle: list[Consumer] = []

    def scan(self, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
        """The records with start <= offset < end.

        Raises:
            LogAwayError: Nothing came for the timeout.
        """
        low, high = self._bounds(tp)
        start, end = max(start, low), min(end, high)
        if start >= end:
            return
        consumer = self._take()
        try:
            consumer.assign([Place(self._settings.namespace + tp.topic, tp.partition, start)])
            yield from self._read(consumer, tp, end)
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

    def _read(self, consumer: Consumer, tp: TopicPartition, end: int) -> Iterator[Record]:
        heard_at = clock.monotonic()
        while True:
            first = consumer.poll(_POLL_S)
            if first is None:
                if clock.monotonic() - heard_at > self._settings.timeout_s:
                    raise LogAwayError(f"{tp.topic}/{tp.partition} could not be read: no answer")
                continue
            heard_at = clock.monotonic()
            for message in (first, *consumer.consume(_AT_ONCE, 0)):
                error = message.error()
                if error is not None and error.code() == _END:
                    return
                if error is not None and error.code() == _OUT_OF_RANGE:
                    start, _ = self._bounds(tp)  # deleted meanwhile: on from the new start
                    place = Place(self._settings.namespace + tp.topic, tp.partition, start)
                    consumer.assign([place])
                    break
                if error is not None:
                    continue
                if (message.offset() or 0) >= end:
                    return
                yield record_of(message, tp.topic)
                if (message.offset() or 0) == end - 1:
                    return
