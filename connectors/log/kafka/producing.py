"""Appends to Kafka, each acknowledged once all its entries are durable."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.log.kafka.settings import OVERHEAD_BYTES, KafkaSettings
from connectors.log.port import Entry, OnDurable
from sealwax import clock
from sealwax.errors import (
    LogAwayError,
    LogClosedError,
    NotConfirmedError,
    RecordTooLargeError,
)

_POLL_S = 0.1
DeliveryCallback = Callable[[KafkaError | None, Message], None]
_SAY_EVERY_S = 60.0  # the client says it every other second
_ALL_AWAY = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - a public code with a private name
# A broker's answers that are about the record or who sends it: no attempt of it was stored. Any
# other error may follow an attempt that was, such as one that timed out; the client library knows
# of each record whether one may have been (rd_kafka_message_status), and does not say it in Python.
_REFUSED = frozenset({
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
})  # fmt: skip

logger = structlog.get_logger(__name__)


class _Append:
    """An append whose entries are on their way."""

    __slots__ = ("_failed", "_left", "_offsets", "_then")

    def __init__(self, count: int, then: Callable[[list[int], list[KafkaError]], None]) -> None:
        self._left = count
        self._offsets = [-1] * count
        self._failed: list[KafkaError] = []
        self._then = then

    def delivered(self, index: int, error: KafkaError | None, message: Message) -> None:
        """Called by the producer's thread for each entry."""
        self._left -= 1
        if error is None:
            self._offsets[index] = message.offset() or 0
        else:
            self._failed.append(error)
        if self._left == 0:
            self._then(self._offsets, self._failed)


def report(on_durable: OnDurable, result: Sequence[int] | Exception) -> None:
    """Tells a caller the result; a fault of its own disturbs nobody else."""
    try:
        on_durable(result)
    except Exception:
        logger.exception("on_durable raised")


def _wire_bytes(entry: Entry) -> int:
    """At most so much a record takes of a batch: the client library refuses by that.

    The lengths of a header's name and value take up to 5 bytes each, all else under 100.
    """
    headers = sum(len(name.encode()) + len(value) + 10 for name, value in entry.headers)
    return len(entry.value or b"") + len(entry.key or b"") + headers + 100


class Appends:
    """The producer of a process. Thread-safe.

    What may be stored is never said to be refused: a flow would append it once more, and a client
    of the API send it again. A process that gives up says NotConfirmedError of it; any other one,
    and each after a fatal error of the producer, goes to `on_fatal`, which ends the process: the
    next one finds by reading back what was stored.
    """

    def __init__(self, settings: KafkaSettings, on_fatal: Callable[[str], None]) -> None:
        self._settings = settings
        self._on_fatal = on_fatal
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._closed = False
        self._said_at = float("-inf")
        self._ended = threading.Event()
        self._producer = Producer({**settings.producer(), "error_cb": self._on_error})
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self._thread.start()

    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        """Appends entries to a topic by its name in the cluster; the result goes to `on_durable`.

        All are refused before any is handed over where one is too large or too many bytes wait.
        """
        size = sum(len(entry.value or b"") + len(entry.key or b"") for entry in entries)
        refused = self._reserve(entries, size)
        if refused is not None or not entries:
            self._answer(on_durable, refused or [])
            return
        append = _Append(len(entries), partial(self._end, size, on_durable))
        for index, entry in enumerate(entries):
            try:
                self._produce(topic, entry, partial(append.delivered, index))
            except (KafkaException, BufferError) as error:
                self._release(size)
                if index:
                    said = f"a part of an append was not handed over: {error}"
                    self._not_known(partial(self._answer, on_durable), said)
                else:
                    self._answer(on_durable, LogAwayError(f"Kafka's client refuses: {error}"))
                return

    def _end(
        self, size: int, on_durable: OnDurable, offsets: list[int], failed: list[KafkaError]
    ) -> None:
        self._release(size)
        if not failed:
            report(on_durable, offsets)
            return
        said = f"Kafka did not take {len(failed)} of {len(offsets)} records: {failed[0].str()}"
        if len(failed) == len(offsets) and all(error.code() in _REFUSED for error in failed):
            report(on_durable, LogAwayError(said))
        else:
            self._not_known(partial(report, on_durable), said)

    def _not_known(self, tell: Callable[[Exception], None], said: str) -> None:
        """Some of an append is stored, or may be."""
        if self._settings.gives_up:
            tell(NotConfirmedError(said))
        else:
            self._on_fatal(said)

    def _produce(self, topic: str, entry: Entry, on_delivery: DeliveryCallback) -> None:
        self._producer.produce(
            topic,
            value=entry.value,
            key=entry.key,
            partition=entry.partition,
            headers=list(entry.headers),
            on_delivery=on_delivery,
        )

    @staticmethod
    def _answer(on_durable: OnDurable, result: Sequence[int] | Exception) -> None:
        """From another thread, as all answers: the caller may hold its locks."""
        threading.Thread(target=report, args=(on_durable, result), daemon=True).start()

    def close(self) -> None:
        """Waits until what was appended is durable or refused."""
        with self._lock:
            self._closed = True
        while self._producer.flush(1.0):
            if self._settings.gives_up:
                continue  # each append ends by itself
            logger.warning("waiting for Kafka", appends=len(self._producer))
        self._ended.set()
        self._thread.join()

    def _reserve(self, entries: Sequence[Entry], size: int) -> Exception | None:
        most = self._settings.max_record_bytes
        for entry in entries:
            value, whole = len(entry.value or b""), _wire_bytes(entry)
            if value > most or whole > most + OVERHEAD_BYTES:
                return RecordTooLargeError(
                    f"a record of {whole} bytes, {value} of them its value, is larger than the "
                    f"{most} that a topic takes"
                )
        with self._lock:
            if self._closed:
                return LogClosedError("the log is closed")
            pending_bytes = self._pending_bytes + size
            if self._pending_bytes and pending_bytes > self._settings.max_pending_bytes:
                return LogAwayError("Kafka is away or slow: too much waits to be stored")
            self._pending_bytes = pending_bytes
        return None

    def _release(self, size: int) -> None:
        with self._lock:
            self._pending_bytes -= size

    def _run(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(_POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._on_fatal(error.str())
        elif error.code() == _ALL_AWAY and clock.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = clock.monotonic()
            logger.warning("no broker answers", error=error.str())
