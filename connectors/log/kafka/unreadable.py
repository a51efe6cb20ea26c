"""Batches that the client cannot read: where they end.

A producer may write a batch that a broker takes and no client can read: what a few kilobytes
decompress to may be larger than the client's bound. A broker gives a batch only as a whole, and the
client does not say where one ends that it could not read.
"""

from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Place

from connectors.log.kafka.settings import KafkaSettings
from sealwax import clock
from sealwax.errors import LogAwayError

# Of a batch that stays as it is, however often it is asked for.
UNREADABLE = frozenset({
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001 - public codes with private names
    KafkaError._BAD_MSG,  # noqa: SLF001
})  # fmt: skip
_POLL_S = 0.1


class Probe:
    """Finds the end of an unreadable batch, with a consumer of its own."""

    def __init__(self, settings: KafkaSettings, name: str, partition: int) -> None:
        """Takes the cluster, and the topic's whole name there."""
        self._settings = settings
        self._name = name
        self._partition = partition
        self._consumer = Consumer(settings.consumer())

    def end_of(self, batch: int, log_end: int) -> int:
        """The first offset behind a batch.

        Args:
            batch: The offset of its first record.
            log_end: The end of the partition, as seen after the batch was.

        Raises:
            LogAwayError: The broker did not answer.
        """
        inside, behind, step = batch, log_end, 1
        while inside + step < log_end:
            if not self._is_in(batch, inside + step):
                behind = inside + step
                break
            inside, step = inside + step, step * 2
        while behind - inside > 1:
            middle = (inside + behind) // 2
            if self._is_in(batch, middle):
                inside = middle
            else:
                behind = middle
        return behind

    def close(self) -> None:
        """Ends its consumer."""
        self._consumer.close()

    def _is_in(self, batch: int, offset: int) -> bool:
        self._consumer.assign([Place(self._name, self._partition, offset)])
        deadline = clock.monotonic() + self._settings.timeout_s
        while clock.monotonic() < deadline:
            message = self._consumer.poll(_POLL_S)
            error = None if message is None else message.error()
            if message is not None and (error is None or error.code() in UNREADABLE):
                return error is not None and message.offset() == batch
        raise LogAwayError(f"{self._name}/{self._partition} was not read in time")
