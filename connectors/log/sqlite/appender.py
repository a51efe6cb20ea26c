"""Group commit: one thread per topic and process stores all the appends that wait, together."""

import sqlite3
import threading
from collections.abc import Sequence
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import NamedTuple

import structlog

from connectors.log.port import Entry, OnDurable
from connectors.log.sqlite.chunk import CHUNK_BYTES, Chunk, chunk_id, encode, pack
from connectors.log.sqlite.files import free_bytes, storage_error
from connectors.log.sqlite.segment import (
    PAGE_BYTES,
    Bound,
    SegmentName,
    SegmentWriter,
    create_segment,
    list_segments,
    publish,
    remove_leftovers,
)
from connectors.log.sqlite.topic import TopicFolder
from sealwax import clock
from sealwax.errors import LogClosedError, StorageFullError
from sealwax.store.file_lock import FileLock

# A commit takes no more than this, so that none waits long behind another's bytes.
_BATCH_BYTES = 8 * 1024 * 1024
# How much is written to the WAL between two checkpoints. A checkpoint holds up the commits of all
# processes; measured with 250 KB commits: 4 MB give a p99 of 7 ms, 16 MB of 18 ms, at 4 % less
# records/s.
_CHECKPOINT_BYTES = 4 * 1024 * 1024
# Readers hold up a checkpoint only while they read. A WAL that grew past this is emptied.
_TRUNCATE_BYTES = 64 * 1024 * 1024
_MAX_APPEND_BYTES = 256 * 1024 * 1024

logger = structlog.get_logger(__name__)


class _Append(NamedTuple):
    """One call of `append`: encoded records by partition, in the caller's order."""

    records: Sequence[tuple[int, bytes]]
    size_bytes: int
    queued_at: float
    on_durable: OnDurable


class AppendSettings(NamedTuple):
    """When a segment is full, when the disk is, and how long an append may wait for others.

    Attributes:
        segment_bytes: Size at which a segment is sealed.
        min_free_bytes: Room on the disk that appends leave alone; None for no check of our own.
        lock_timeout: How long an append waits for the topic's lock; then nothing of it is stored.
    """

    segment_bytes: int
    min_free_bytes: int | None
    lock_timeout: timedelta


class Appender:
    """Appends to one topic. `append` may be called from any thread."""

    def __init__(self, folder: TopicFolder, settings: AppendSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._queue: SimpleQueue[_Append | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._writer: SegmentWriter | None = None
        self._unchecked_bytes = 0  # written since the last checkpoint
        self._lock_file = FileLock(folder.path / "append.lock")
        self._thread = threading.Thread(
            target=self._run, name=f"append {folder.topic}", daemon=True
        )
        self._thread.start()

    def append(self, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        """Queues the entries for the next commit.

        Raises:
            TypeError: An entry that could not be read back.
            ValueError: An unknown partition, or more than 256 MB.
        """
        partitions = self._folder.meta.partitions
        records = [(entry.partition, encode(entry)) for entry in entries]
        size_bytes = 0
        for partition, record in records:
            if not 0 <= partition < partitions:
                raise ValueError(f"{self._folder.topic} has no partition {partition}")
            size_bytes += len(record)
        if size_bytes > _MAX_APPEND_BYTES:
            raise ValueError(f"an append of {size_bytes} bytes; at most {_MAX_APPEND_BYTES}")
        with self._lock:
            if not self._closed:
                self._queue.put(_Append(records, size_bytes, clock.monotonic(), on_durable))
                return
        raise LogClosedError("the log is closed")

    def close(self) -> None:
        """Waits until what was queued before is durable and acknowledged. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            batch, more = self._collect()
            if batch:
                self._commit(batch)
        self._drop_writer()
        self._lock_file.close()

    def _collect(self) -> tuple[list[_Append], bool]:
        """All that waits, within bounds; and whether there may be more after it."""
        batch: list[_Append] = []
        size_bytes = 0
        append = self._queue.get()
        while append is not None:
            batch.append(append)
            size_bytes += append.size_bytes
            if size_bytes >= _BATCH_BYTES:
                return batch, True
            try:
                append = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: Sequence[_Append]) -> None:
        try:
            results: Sequence[Sequence[int] | Exception] = self._store(batch)
        except Exception as error:  # noqa: BLE001 - the thread goes on, and each append is answered
            self._drop_writer()
            told = self._told(error)
            logger.warning("append failed", topic=self._folder.topic, error=str(told))
            results = [told] * len(batch)
        for append, result in zip(batch, results, strict=True):
            try:
                append.on_durable(result)
            except Exception:
                # The caller's fault must not keep the others from their acknowledgements.
                logger.exception("on_durable raised", topic=self._folder.topic)
        self._tend()

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, (sqlite3.Error, OSError)):
            return storage_error(error, self._folder.path)
        return error

    def _store(self, batch: Sequence[_Append]) -> list[Sequence[int]]:
        size_bytes = sum(append.size_bytes for append in batch)
        reserve = self._settings.min_free_bytes
        if reserve is not None and free_bytes(self._folder.path) - size_bytes < reserve:
            raise StorageFullError(
                f"the disk that holds {self._folder.path} has less than {reserve} bytes free"
            )
        marks = self._folder.marks
        waited = timedelta(seconds=clock.monotonic() - batch[0].queued_at)
        left = max(timedelta(), self._settings.lock_timeout - waited)
        with self._lock_file.held(left):
            writer = self._ready_writer()
            ends = list(writer.ends)
            chunks, offsets = _lay_out(batch, ends)
            if not chunks:
                return offsets
            marks.begin_commit()
            writer.append(chunks, self._settings.segment_bytes)
            # Where the append raises, the bell stays odd: readers look, which is always right.
            marks.end_commit(end.offset for end in ends)
            writer.note(ends, marks.bell)
        # A commit writes whole pages: the last of every partition that it touches, and the first.
        self._unchecked_bytes += size_bytes + (len(chunks) + 1) * PAGE_BYTES
        return offsets

    def _ready_writer(self) -> SegmentWriter:
        """The writer of the newest segment, up to date; makes the next one after a sealed one."""
        folder = self._folder.path
        if self._writer is None:
            remove_leftovers(folder)
            self._writer = SegmentWriter(folder, list_segments(folder)[-1])
            self._unchecked_bytes = 0
        self._writer.refresh(self._folder.marks.bell)
        while self._writer.sealed:
            self._writer = self._after(self._writer)
            self._writer.refresh(self._folder.marks.bell)
        return self._writer

    def _after(self, writer: SegmentWriter) -> SegmentWriter:
        folder = self._folder.path
        newest = list_segments(folder)[-1]
        if newest.last <= writer.name.last:
            newest = SegmentName(writer.name.last + 1, writer.name.last + 1)
            publish(create_segment(folder, newest, writer.ends), newest)
            self._folder.marks.change_layout()
        following = SegmentWriter(folder, newest)
        writer.close()
        self._unchecked_bytes = 0
        return following

    def _tend(self) -> None:
        """Between commits: checkpoints, and makes the next segment before it is needed."""
        writer = self._writer
        if writer is None or not (writer.sealed or self._unchecked_bytes >= _CHECKPOINT_BYTES):
            return
        try:
            with self._lock_file.held(self._settings.lock_timeout):
                writer.checkpoint(empty_above_bytes=0 if writer.sealed else _TRUNCATE_BYTES)
                self._unchecked_bytes = 0
                self._ready_writer()
        except (sqlite3.Error, OSError) as error:
            # Nothing is lost: the WAL has it all, and the next commit tries again.
            self._unchecked_bytes = 0
            logger.warning("checkpoint or roll failed", topic=self._folder.topic, error=str(error))

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _OpenChunk:
    """Records of one partition that will be one row."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.records: list[bytes] = []
        self.size_bytes = 0


def _lay_out(
    batch: Sequence[_Append], ends: list[Bound]
) -> tuple[list[Chunk], list[Sequence[int]]]:
    """Gives every record its offset.

    Args:
        batch: What is appended.
        ends: By partition, where the log ends; moved along.

    Returns:
        The rows to store, and the offsets of each append.
    """
    now_ms = clock.now_ms()
    chunks: list[Chunk] = []
    offsets: list[Sequence[int]] = []
    filling: dict[int, _OpenChunk] = {}
    following = [end.offset for end in ends]
    stamps_ms = [max(now_ms, end.stamp_ms) for end in ends]

    def finish(partition: int, chunk: _OpenChunk) -> None:
        chunks.append(
            Chunk(
                chunk_id(partition, chunk.first),
                len(chunk.records),
                stamps_ms[partition],
                None,
                pack(chunk.records),
            )
        )

    for append in batch:
        given: list[int] = []
        for partition, record in append.records:
            offset = following[partition]
            following[partition] = offset + 1
            given.append(offset)
            chunk = filling.get(partition)
            if chunk is None or chunk.size_bytes + len(record) > CHUNK_BYTES:
                if chunk is not None:
                    finish(partition, chunk)
                chunk = filling[partition] = _OpenChunk(offset)
            chunk.records.append(record)
            chunk.size_bytes += len(record)
        offsets.append(given)
    for partition, chunk in filling.items():
        finish(partition, chunk)
        ends[partition] = Bound(following[partition], stamps_ms[partition])
    return chunks, offsets
