"""Filling empty topics with records that keep the stamps they have."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import Record
from sealwax.errors import ConfigurationError, LogAwayError
from sealwax.model.topics import ALL_OF_KAFKA

# While topics are filled: stamps are the producer's, also where its clock was ahead, and nothing
# is compacted. A start refuses topics that are so.
_WHILE_FILLED = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "cleanup.policy": "delete",
}
_KAFKAS_OWN = {"message.timestamp.after.max.ms": "3600000"}
_QUEUE_RECORDS = 200_000
_QUEUE_KIB = 64 << 10
_POLL_S = 0.05
_FLUSH_S = 1.0


class Filler:
    """A producer for topics that nobody else writes to; used by one thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._error: KafkaError | None = None
        try:
            self._producer = Producer({
                **settings.producer(),
                "linger.ms": 50,
                "queue.buffering.max.messages": _QUEUE_RECORDS,
                "queue.buffering.max.kbytes": _QUEUE_KIB,
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
            })  # fmt: skip
        except KafkaException as error:
            raise ConfigurationError(f"the Kafka client refuses its properties: {error}") from error

    def append(self, record: Record) -> None:
        """Appends a record to its partition, durable after `flush`.

        Raises:
            LogAwayError: Kafka did not take this one or one before.
        """
        while True:
            try:
                self._producer.produce(
                    self._settings.namespace + record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                    timestamp=record.stamp_ms,
                )
            except BufferError:
                self._producer.poll(_POLL_S)
                self._check()
            except KafkaException as error:
                raise LogAwayError(
                    f"Kafka did not take record {record.offset} of {record.topic}/"
                    f"{record.partition}: {error.args[0].str()}"
                ) from error
            else:
                return

    def flush(self) -> None:
        """Waits until all that was appended is durable. Raises LogAwayError."""
        while self._producer.flush(_FLUSH_S):
            self._check()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise LogAwayError(f"Kafka did not take a record: {self._error.str()}")

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        self._error = self._error or error


def make_to_fill(log: KafkaLog, names: Sequence[str], partitions: int) -> None:
    """Makes those of all topics that are missing, and has these ones ready to be filled."""
    made = log.topics.create(ALL_OF_KAFKA, partitions, _WHILE_FILLED)
    for name in names:
        if name not in made:
            log.topics.configure(name, _WHILE_FILLED)


def end_filling(log: KafkaLog) -> None:
    """Has all topics as they have to be; what is in them keeps its stamps."""
    wanted = log.topics.wanted(ALL_OF_KAFKA)
    for name, found in log.topics.describe(list(wanted)).items():
        config = wanted[name].config(found.replication)
        log.topics.configure(name, {**config, **_KAFKAS_OWN})
