"""The segments of a topic that this process has open for reading, shared by all its readers."""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from connectors.log.sqlite.chunk import Chunk, chunk_id
from connectors.log.sqlite.files import storage_error
from connectors.log.sqlite.segment import (
    Bound,
    SegmentName,
    connect_for_reading,
    is_sealed,
    list_segments,
    read_bases,
    read_end,
)
from connectors.log.sqlite.topic import TopicFolder
from sealwax.errors import LogClosedError

T = TypeVar("T")

# Readers stand at the log's end or work through a backlog, seldom at more places than this.
_OPEN_SEGMENTS = 4
_READER_CACHE = "PRAGMA cache_size = -1024"  # KiB
# Always a row: whether the segment is sealed, and then chunks or NULL, all of one moment.
_SELECT = (
    "SELECT sealed, chunk.id, length, stamp_ms, offsets, records FROM state"
    " LEFT JOIN chunk ON chunk.id >= ? AND chunk.id < ? WHERE state.id = 0"
    " ORDER BY chunk.id LIMIT 64"
)
_LIMIT = 64
# The last chunk that starts at or below an offset, in which it may stand.
_SEEK = "SELECT max(id) FROM chunk WHERE id >= ? AND id <= ?"
_ATTEMPTS = 5


class SegmentGoneError(Exception):
    """The segment was closed or removed meanwhile; look it up again."""


class Found(NamedTuple):
    """What a segment holds, as of one moment.

    Attributes:
        chunks: The next ones.
        exhausted: Whether there are none after them in this segment.
        sealed: Whether there never will be.
    """

    chunks: list[Chunk]
    exhausted: bool
    sealed: bool


class OpenSegment:
    """One segment, open for reading. Every call is one short read transaction."""

    def __init__(self, folder: TopicFolder, name: SegmentName, *, newest: bool) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._sealed = False
        self._open = True
        self._connection = connect_for_reading(folder.path / name.file, newest=newest)
        try:
            self._connection.execute(_READER_CACHE)
            self.bases = read_bases(self._connection)
        except BaseException:
            self._connection.close()
            raise

    def chunks(
        self, partition: int, start: int, *, seek: bool, max_records: int, max_bytes: int
    ) -> Found:
        """The next chunks, as many as hold what is asked for; at least one where one is there.

        Args:
            partition: Of which partition.
            start: From which offset on.
            seek: Whether `start` may stand within a chunk.
            max_records: Stops at the chunk that reaches it.
            max_bytes: The same in bytes.
        """
        first, end = chunk_id(partition, start), chunk_id(partition + 1, 0)
        chunks: list[Chunk] = []
        with self._lock:
            self._check()
            if seek:
                row = self._connection.execute(_SEEK, (chunk_id(partition, 0), first)).fetchone()
                first = row[0] if row[0] is not None else first
            cursor = self._connection.execute(_SELECT, (first, end))
            for sealed, *columns in cursor:
                self._sealed = bool(sealed)
                if columns[0] is None:
                    break
                chunk = Chunk._make(columns)
                chunks.append(chunk)
                max_records -= chunk.length
                max_bytes -= len(chunk.records)
                if max_records <= 0 or max_bytes <= 0:
                    break
            cursor.close()  # ends the read transaction, so that checkpoints can go on
        stopped = bool(chunks) and (max_records <= 0 or max_bytes <= 0 or len(chunks) == _LIMIT)
        return Found(chunks, exhausted=not stopped, sealed=self._sealed)

    def end(self, partition: int) -> Bound:
        """Where the partition ends; only for segments that were never compacted."""
        with self._lock:
            self._check()
            return read_end(self._connection, partition, self.bases[partition])

    def sealed(self) -> bool:
        """Whether nothing will be appended any more."""
        if not self._sealed:
            with self._lock:
                self._check()
                self._sealed = is_sealed(self._connection)
        return self._sealed

    def close(self) -> None:
        """Closes it; whoever uses it now finishes first."""
        with self._lock:
            self._open = False
            self._connection.close()

    def _check(self) -> None:
        if not self._open:
            raise SegmentGoneError


class Shelf:
    """Finds and opens segments. Thread-safe."""

    def __init__(self, folder: TopicFolder) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[SegmentName, OpenSegment] = OrderedDict()
        self._names: list[SegmentName] = []
        self._layout = -1
        self._closed = False

    def holding(self, partition: int, offset: int) -> OpenSegment:
        """The segment in which `offset` stands or would stand; the oldest where it is gone."""

        def find() -> OpenSegment:
            for name in reversed(self._names[1:]):
                segment = self._get(name)
                if segment.bases[partition].offset <= offset:
                    return segment
            return self._get(self._names[0])

        return self._found(find)

    def newest(self) -> OpenSegment:
        """The segment that is appended to."""
        return self._found(lambda: self._get(self._names[-1]))

    def after(self, segment: OpenSegment) -> OpenSegment | None:
        """The one that follows a sealed segment, or None where it was not made yet."""

        def find() -> OpenSegment | None:
            for name in self._names:
                # Not its first one: a compaction may have merged this one with the following.
                if name.last > segment.name.last:
                    return self._get(name)
            return None

        following = self._found(find)
        if following is None:
            self._layout = -1  # a process may have died before it said so
            following = self._found(find)
        return following

    def bases(self, name: SegmentName) -> list[Bound]:
        """Where a segment starts."""
        return self._found(lambda: self._get(name).bases)

    def end(self, partition: int) -> Bound:
        """Where the partition's log ends."""
        while True:
            newest = self.newest()
            try:
                end = newest.end(partition)
                if not newest.sealed() or self.after(newest) is None:
                    return end
            except SegmentGoneError:
                continue

    def close(self) -> None:
        """Closes all of them. Idempotent."""
        with self._lock:
            self._closed = True
            self._close_all()

    def _found(self, find: Callable[[], T]) -> T:
        for attempt in range(_ATTEMPTS):
            with self._lock:
                self._refresh()
                try:
                    return find()
                except sqlite3.OperationalError as error:
                    if attempt == _ATTEMPTS - 1:
                        raise storage_error(error, self.folder.path) from error
                    self._layout = -1  # removed since it was listed
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _refresh(self) -> None:
        if self._closed:
            raise LogClosedError("the log is closed")
        layout = self.folder.marks.layout
        if layout != self._layout:
            self._names = list_segments(self.folder.path)
            self._layout = layout
            for name in [name for name in self._open if name not in self._names]:
                self._open.pop(name).close()

    def _get(self, name: SegmentName) -> OpenSegment:
        segment = self._open.get(name)
        if segment is None:
            segment = self._open[name] = OpenSegment(
                self.folder, name, newest=name == self._names[-1]
            )
            while len(self._open) > _OPEN_SEGMENTS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(name)
        return segment

    def _close_all(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
