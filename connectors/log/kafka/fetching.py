"""Readers of partitions: one consumer for all of them, which fetches ahead."""

import gc
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from operator import methodcaller

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Place
from typing_extensions import override

from connectors.log.kafka.settings import Config, KafkaSettings
from connectors.log.kafka.unreadable import UNREADABLE, Probe
from connectors.log.port import Headers, Reader, Record, TopicPartition, size_of
from sealwax import clock
from sealwax.errors import LogPositionError
from sealwax.model.topics import REQUESTED, RETRY

# What the readers of a consumer may hold fetched, and a reader at least.
_BUDGET_BYTES = 32 << 20
_LEAST_BYTES = 256 << 10
_MOST_RECORDS = 2_000
_POLL_S = 0.02  # an order waits so long
_AT_ONCE = 1_000
# Each request names all partitions of its consumer, which costs the broker more than the records
# do. So what must be quick is gathered for a moment, and delay topics have a consumer of their own:
# most partitions are theirs, they seldom have news, and a tenth of a second is nothing there.
_QUICK: Config = {"fetch.min.bytes": 64 << 10, "fetch.wait.max.ms": 10}
_UNHURRIED: Config = {"fetch.min.bytes": 1, "fetch.wait.max.ms": 100}
_OUT_OF_RANGE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - a public code with a private name

# What stands for a name that is no UTF-8, which a foreign producer may write: U+FFFD.
_NO_NAME = "\N{REPLACEMENT CHARACTER}"
# Called so since a call in the source text is optimised once it is warm, and then hides the error.
_headers = methodcaller("headers")

# The start and the end of a partition.
Bounds = Callable[[TopicPartition], tuple[int, int]]

logger = structlog.get_logger(__name__)


def record_of(message: Message, topic: str) -> Record:
    """A message as a record of the topic that we call so. Kafka's offsets, keys and bytes."""
    _, stamp_ms = message.timestamp()
    return Record(
        topic,
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value(),
        _headers_of(message),
        stamp_ms,
    )


def _headers_of(message: Message) -> Headers:
    """Its headers; one whose name is no UTF-8 keeps its place and its value."""
    try:
        return tuple((name, value or b"") for name, value in _headers(message) or ())
    except SystemError:
        # The client fails once and has the list then, where such a pair lacks its first half. To
        # read that half ends the process; the collector knows which pairs have both.
        return tuple(
            (pair[0] if len(gc.get_referents(pair)) > 1 else _NO_NAME, pair[1] or b"")
            for pair in _headers(message)
        )


class FetchedPartition(Reader):
    """What was fetched of one partition, and not read yet."""

    def __init__(self, fetcher: "Fetcher", tp: TopicPartition, offset: int) -> None:
        self.tp = tp
        self.next = offset  # of the record that is fetched next
        self.paused = False
        self.stamp_ms = 0  # of the last record
        self.probing = False  # the end of what cannot be read is looked for
        self.begun = False  # what is fetched before was for a reader that is closed
        self._fetcher = fetcher
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._error: LogPositionError | None = None
        self._closed = False

    @override
    def read(self, max_records: int, max_bytes: int) -> list[Record]:
        if not self._records:
            if self._error is not None:
                raise self._error
            return []
        out: list[Record] = []
        taken = 0
        with self._lock:
            while self._records and len(out) < max_records:
                size = size_of(self._records[0])
                if out and taken + size > max_bytes:
                    break
                taken += size
                out.append(self._records.popleft())
            self._bytes -= taken
            has_room = self.paused and self._has_room(2)
        if has_room:
            self._fetcher.resume(self)
        return out

    @override
    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._fetcher.remove(self)

    def put(self, record: Record) -> bool:
        """Takes a fetched record; whether there is room for more."""
        with self._lock:
            if record.offset >= self.next and self._error is None:
                self.next = record.offset + 1
                self.stamp_ms = record.stamp_ms
                self._records.append(record)
                self._bytes += size_of(record)
            return self._has_room(1)

    def fail(self, error: LogPositionError) -> None:
        """Makes reads fail from the next record on."""
        self._error = error

    def _has_room(self, parts: int) -> bool:
        most = self._fetcher.bytes_each // parts
        return self._bytes < most and len(self._records) < _MOST_RECORDS // parts


class Fetcher:
    """A consumer and its thread, for readers of different partitions. Thread-safe.

    Guarantee: every record from a reader's offset on, once and in order; one of a producer that
    cannot be read is said to be `unreadable`. Where that offset was
    deleted the reader goes on at the start of the log (whoever must not skip looks at the gap); one
    that the log has not reached, or has no more, is an error: the topic was cut or made anew.
    """

    def __init__(self, settings: KafkaSettings, bounds: Bounds, *, delayed: bool) -> None:
        """Takes the cluster, what knows bounds, and whether all readers are of delay topics."""
        self.delayed = delayed
        self._settings = settings
        self._namespace = settings.namespace
        self._bounds = bounds
        pace = _UNHURRIED if delayed else _QUICK
        self._consumer = Consumer({**settings.consumer(), **pace, "error_cb": self._on_error})
        self._lock = threading.Lock()
        self._readers: dict[TopicPartition, FetchedPartition] = {}
        # The consumer is its thread's alone: it does not take orders of one while another polls.
        self._orders: deque[Callable[[], None]] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._thread.start()

    @property
    def bytes_each(self) -> int:
        """How much one reader may hold fetched."""
        return max(_LEAST_BYTES, _BUDGET_BYTES // max(1, len(self._readers)))

    def reader(self, tp: TopicPartition, offset: int) -> Reader | None:
        """A reader; None where the partition has one here already."""
        with self._lock:
            if tp in self._readers:
                return None
            made = self._readers[tp] = FetchedPartition(self, tp, offset)
        self._orders.append(partial(self._begin, made))
        return made

    def remove(self, reader: FetchedPartition) -> None:
        """Ends a reader."""
        with self._lock:
            known = self._readers.pop(reader.tp, None)
        if known:
            place = self._place(reader.tp)
            self._orders.append(lambda: self._consumer.incremental_unassign([place]))

    def resume(self, reader: FetchedPartition) -> None:
        """Fetches again for a reader that has room."""
        self._orders.append(partial(self._resume, reader))

    def close(self) -> None:
        """Ends all of them."""
        self._ended.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                while self._orders:
                    self._orders.popleft()()
                first = self._consumer.poll(_POLL_S)
                if first is not None:
                    for message in (first, *self._consumer.consume(_AT_ONCE, 0)):
                        self._take(message)
            except Exception:
                logger.exception("fetching failed, tried again")

    def _take(self, message: Message) -> None:
        topic = (message.topic() or "").removeprefix(self._namespace)
        tp = TopicPartition(topic, message.partition() or 0)
        reader = self._readers.get(tp)
        if reader is None or not reader.begun:
            return
        error = message.error()
        if error is None:
            self._put(reader, message)
        elif error.code() == _OUT_OF_RANGE:
            self._find(reader)
        elif error.code() in UNREADABLE and topic in REQUESTED:
            self._probe(reader, message.offset() or 0, error.str())
        else:
            logger.warning("a partition is not read", tp=tp, error=error.str())

    def _probe(self, reader: FetchedPartition, batch: int, why: str) -> None:
        """Looks in a thread where a batch ends that nobody can read; the partition waits for it."""
        if reader.probing:
            return
        reader.probing = True
        self._pause(reader)

        def look() -> None:
            try:
                name, number = self._namespace + reader.tp.topic, reader.tp.partition
                with closing(Probe(self._settings, name, number)) as probe:
                    end = probe.end_of(batch, self._bounds(reader.tp)[1])
            except Exception:
                logger.exception("the end of an unreadable batch was not found", tp=reader.tp)
                end = batch
            self._orders.append(partial(self._pass_over, reader, end, why))

        threading.Thread(target=look, name="unreadable", daemon=True).start()

    def _pass_over(self, reader: FetchedPartition, end: int, why: str) -> None:
        """Gives the reader what says that these records cannot be read, and goes on behind them."""
        reader.probing = False
        if self._readers.get(reader.tp) is not reader:
            return
        # Not below the one before, nor above the next one.
        stamp_ms = reader.stamp_ms or clock.now_ms()
        for offset in range(reader.next, end):
            reader.put(Record(*reader.tp, offset, None, None, (), stamp_ms, unreadable=why))
        logger.warning("records cannot be read", tp=reader.tp, next=end, error=why)
        reader.paused = False
        self._consumer.incremental_unassign([self._place(reader.tp)])
        self._begin(reader)

    def _put(self, reader: FetchedPartition, message: Message) -> None:
        try:
            has_room = reader.put(record_of(message, reader.tp.topic))
        except Exception as error:
            # What cannot be taken is not passed over either.
            logger.exception("a fetched record was not taken", tp=reader.tp)
            reader.fail(LogPositionError(f"offset {message.offset()} cannot be read: {error}"))
            return
        if not has_room:
            self._pause(reader)

    def _begin(self, reader: FetchedPartition) -> None:
        self._consumer.incremental_assign([self._place(reader.tp, reader.next)])
        # The client keeps a partition paused that was given up so, and assigned again (seen).
        self._consumer.resume([self._place(reader.tp)])
        reader.begun = True

    def _pause(self, reader: FetchedPartition) -> None:
        if not reader.paused:
            reader.paused = True
            self._consumer.pause([self._place(reader.tp)])

    def _resume(self, reader: FetchedPartition) -> None:
        if reader.paused and not reader.probing and self._readers.get(reader.tp) is reader:
            reader.paused = False
            self._consumer.resume([self._place(reader.tp)])

    def _find(self, reader: FetchedPartition) -> None:
        """Goes on where the log begins, or lets the reader fail, after an offset out of range."""
        try:
            start, end = self._bounds(reader.tp)
        except Exception:
            logger.exception("the partition's bounds are not known, asked again", tp=reader.tp)
            start = end = reader.next
        if reader.next > end:
            reader.fail(
                LogPositionError(
                    f"offset {reader.next} of {reader.tp.topic}/{reader.tp.partition} is above its "
                    f"end, {end}: the topic was cut or made anew"
                )
            )
            return
        reader.next = max(reader.next, start)
        self._consumer.incremental_unassign([self._place(reader.tp)])
        self._consumer.incremental_assign([self._place(reader.tp, reader.next)])

    def _place(self, tp: TopicPartition, offset: int | None = None) -> Place:
        name = self._namespace + tp.topic
        return Place(name, tp.partition) if offset is None else Place(name, tp.partition, offset)

    def _on_error(self, error: KafkaError) -> None:
        logger.debug("consumer", error=error.str())


class Fetchers:
    """Almost always one for delay topics and one for the others.

    There are more where a partition has more than one reader.
    """

    def __init__(self, settings: KafkaSettings, bounds: Bounds) -> None:
        self._settings = settings
        self._bounds = bounds
        self._lock = threading.Lock()
        self._fetchers: list[Fetcher] = []

    def reader(self, tp: TopicPartition, offset: int) -> Reader:
        """A reader of a partition from an offset on."""
        delayed = tp.topic in RETRY
        with self._lock:
            for fetcher in self._fetchers:
                reader = fetcher.reader(tp, offset) if fetcher.delayed == delayed else None
                if reader is not None:
                    return reader
            self._fetchers.append(Fetcher(self._settings, self._bounds, delayed=delayed))
            made = self._fetchers[-1].reader(tp, offset)
        if made is None:
            raise KafkaException("a new consumer has a reader")
        return made

    def close(self) -> None:
        """Ends all readers."""
        for fetcher in self._fetchers:
            fetcher.close()
