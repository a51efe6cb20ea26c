"""The embedded adapter of the log port."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from typing_extensions import override

from connectors.log.port import (
    Committed,
    Entry,
    Log,
    OnDurable,
    Reader,
    Record,
    TopicPartition,
)
from connectors.log.sqlite.appender import Appender, AppendSettings
from connectors.log.sqlite.compaction import compact
from connectors.log.sqlite.files import make_folder
from connectors.log.sqlite.groups import Groups
from connectors.log.sqlite.reader import PartitionReader, scan
from connectors.log.sqlite.retention import delete_before
from connectors.log.sqlite.shelf import Shelf
from connectors.log.sqlite.topic import MAX_PARTITIONS, TopicFolder, create_topics
from sealwax.errors import ConfigurationError, LogClosedError
from sealwax.model.topics import TopicSpec


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The embedded log.

    Attributes:
        directory: Where its folders are; created where it is missing.
        partitions: Of topics that are created from now on, 1 to 500.
        segment_bytes: Size at which a segment is sealed and the next one begun.
        min_free_bytes: Room on the disk that appends leave alone; None for no check of our own.
        lock_timeout: How long an append or a commit waits for another process's; then nothing of
            it is stored.
    """

    directory: Path
    partitions: int = 4
    segment_bytes: int = 128 * 1024 * 1024
    min_free_bytes: int | None = None
    lock_timeout: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ConfigurationError(f"partitions must be 1 to {MAX_PARTITIONS}")
        if self.segment_bytes <= 0:
            raise ConfigurationError("segment_bytes must be positive")


class _Topic:
    """An open topic: its folder, what reads it and, from the first append on, what writes it."""

    def __init__(self, folder: TopicFolder, settings: AppendSettings) -> None:
        self.folder = folder
        self.shelf = Shelf(folder)
        self._settings = settings
        self._lock = threading.Lock()
        self._appender: Appender | None = None
        self._closed = False

    def appender(self) -> Appender:
        if self._appender is None:
            with self._lock:
                if self._closed:
                    raise LogClosedError("the log is closed")
                if self._appender is None:
                    self._appender = Appender(self.folder, self._settings)
        return self._appender

    def close(self) -> None:
        with self._lock:
            self._closed = True
        if self._appender is not None:
            self._appender.close()
        self.shelf.close()


class SqliteLog(Log):
    """The log in a directory of this machine, shared by any number of processes.

    Guarantee: what `on_durable` reported survives `kill -9` and, where the disk keeps what it
    says it has, a power loss. A process must not fork after it opened the log.
    """

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._appending = AppendSettings(
            settings.segment_bytes, settings.min_free_bytes, settings.lock_timeout
        )
        make_folder(settings.directory)
        self._groups = Groups(settings.directory, settings.lock_timeout)
        self._topics: dict[str, _Topic] = {}
        self._lock = threading.Lock()
        self._closed = False

    @override
    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        settings = self._settings
        create_topics(settings.directory, specs, settings.partitions, settings.lock_timeout)

    @override
    def partitions(self, topic: str) -> int:
        return self._topic(topic).folder.meta.partitions

    @override
    def incarnation(self, topic: str) -> str:
        return self._topic(topic).folder.meta.incarnation

    @override
    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        try:
            self._topic(topic).appender().append(entries, on_durable)
        except LogClosedError as error:
            # The callback comes from a thread of the log here too: the caller may hold its locks.
            threading.Thread(target=on_durable, args=(error,), daemon=True).start()

    @override
    def reader(self, tp: TopicPartition, offset: int) -> Reader:
        return PartitionReader(self._shelf(tp), tp, offset)

    @override
    def scan(self, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
        return scan(self._shelf(tp), tp, start, end)

    @override
    def start_offset(self, tp: TopicPartition) -> int:
        return self._shelf(tp).folder.marks.start(tp.partition)

    @override
    def end_offset(self, tp: TopicPartition) -> int:
        return self._shelf(tp).end(tp.partition).offset

    @override
    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        return self._groups.committed(group, tp)

    @override
    def commit(
        self, group: str, positions: Mapping[TopicPartition, Committed], *, durable: bool = True
    ) -> None:
        self._groups.commit(group, positions, durable=durable)

    @override
    def groups(self) -> Sequence[str]:
        return self._groups.names()

    @override
    def lag(self, group: str, tp: TopicPartition) -> int:
        committed = self.committed(group, tp)
        start = self.start_offset(tp)
        position = max(start, committed.offset) if committed else start
        return max(0, self.end_offset(tp) - position)

    @override
    def delete_before(self, tp: TopicPartition, offset: int) -> None:
        delete_before(self._shelf(tp), tp.partition, offset)

    @override
    def compact(self, topic: str) -> None:
        compact(self._topic(topic).shelf, self._settings.segment_bytes)

    @override
    def close(self) -> None:
        with self._lock:
            self._closed = True
            topics = list(self._topics.values())
        for topic in topics:
            topic.close()
        self._groups.close()

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            with self._lock:
                if self._closed:
                    raise LogClosedError("the log is closed")
                topic = self._topics.get(name)
                if topic is None:
                    folder = TopicFolder(
                        self._settings.directory, name, self._settings.lock_timeout
                    )
                    topic = self._topics[name] = _Topic(folder, self._appending)
        return topic

    def _shelf(self, tp: TopicPartition) -> Shelf:
        shelf = self._topic(tp.topic).shelf
        if not 0 <= tp.partition < shelf.folder.meta.partitions:
            raise KeyError(tp)
        return shelf
