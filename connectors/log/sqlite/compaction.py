"""Compaction: of the records with one key only the last is kept, at its offset."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from connectors.log.port import TopicPartition
from connectors.log.sqlite.chunk import Chunk, keep, partition_of, unpack
from connectors.log.sqlite.segment import (
    SegmentName,
    SegmentWriter,
    connect,
    create_segment,
    list_segments,
    publish,
    remove_segment,
    remove_unpublished,
)
from connectors.log.sqlite.shelf import Shelf
from sealwax.errors import ConfigurationError

_SELECT = (
    "SELECT id, length, stamp_ms, offsets, records FROM chunk WHERE id > ? ORDER BY id LIMIT 64"
)
_BEFORE_ALL = -1
_NOTE = "INSERT OR REPLACE INTO last VALUES (?, ?, ?)"


class _LastOffsets:
    """Key -> its last offset, in a temporary file: keys may be many more than memory holds."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute(
            "CREATE TABLE last(partition INTEGER, key BLOB, offset INTEGER NOT NULL,"
            " PRIMARY KEY (partition, key)) WITHOUT ROWID"
        )
        self._connection.execute("BEGIN")

    def note(self, topic: str, chunk: Chunk) -> None:
        """Takes the keys of a chunk in; chunks of a partition come in the order of offsets."""
        partition = partition_of(chunk.id)
        records = unpack(TopicPartition(topic, partition), chunk, 0)
        self._connection.executemany(
            _NOTE, [(partition, r.key, r.offset) for r in records if r.key is not None]
        )

    def wanted(self, topic: str, chunk: Chunk, start: int) -> list[bool]:
        """Which records of a chunk stay: the last of their key, and those without a key."""
        partition = partition_of(chunk.id)
        records = unpack(TopicPartition(topic, partition), chunk, 0)
        return [
            r.offset >= start and (r.key is None or self._last(partition, r.key) == r.offset)
            for r in records
        ]

    def close(self) -> None:
        self._connection.close()

    def _last(self, partition: int, key: bytes) -> int:
        row = self._connection.execute(
            "SELECT offset FROM last WHERE partition = ? AND key = ?", (partition, key)
        ).fetchone()
        return int(row[0])


def compact(shelf: Shelf, segment_bytes: int) -> None:
    """Rewrites the sealed segments of a compacted topic without superseded records.

    Neighbours that fit into one segment become one. Readers and appenders go on meanwhile: who
    has an old segment open reads it to its end, and finds the new one at the next look-up.

    Raises:
        ConfigurationError: The topic keeps every record.
    """
    folder = shelf.folder
    if not folder.meta.compacted:
        raise ConfigurationError(f"{folder.topic} is not a compacted topic")
    with folder.compacting():
        remove_unpublished(folder.path)
        _roll(shelf)
        names = list_segments(folder.path)
        last = _LastOffsets()
        try:
            for name in names:
                for chunk in _chunks(folder.path, name):
                    last.note(folder.topic, chunk)
            for merged in _neighbours(folder.path, names[:-1], segment_bytes):
                _rewrite(shelf, merged, last)
        finally:
            last.close()


def _roll(shelf: Shelf) -> None:
    """Seals the newest segment, unless it is empty, and begins the next one."""
    folder = shelf.folder
    with folder.locked():
        name = list_segments(folder.path)[-1]
        writer = SegmentWriter(folder.path, name)
        try:
            writer.refresh(folder.marks.bell)
            if writer.empty and not writer.sealed:
                return
            folder.marks.begin_commit()
            writer.seal()
            folder.marks.end_commit(end.offset for end in writer.ends)
            writer.checkpoint(empty_above_bytes=0)
            following = SegmentName(name.last + 1, name.last + 1)
            publish(create_segment(folder.path, following, writer.ends), following)
            folder.marks.change_layout()
        finally:
            writer.close()


def _neighbours(
    folder: Path, names: Sequence[SegmentName], segment_bytes: int
) -> Iterator[list[SegmentName]]:
    """Runs of segments that fit into one."""
    run: list[SegmentName] = []
    run_bytes = 0
    for name in names:
        size_bytes = (folder / name.file).stat().st_size
        if run and run_bytes + size_bytes > segment_bytes:
            yield run
            run, run_bytes = [], 0
        run.append(name)
        run_bytes += size_bytes
    if run:
        yield run


def _rewrite(shelf: Shelf, sources: Sequence[SegmentName], last: _LastOffsets) -> None:
    folder = shelf.folder

    def kept() -> Iterator[Chunk]:
        for source in sources:
            for chunk in _chunks(folder.path, source):
                start = folder.marks.start(partition_of(chunk.id))
                wanted = last.wanted(folder.topic, chunk, start)
                left = chunk if all(wanted) else keep(chunk, wanted)
                if left is not None:
                    yield left

    if len(sources) == 1 and sum(chunk.length for chunk in kept()) == sum(
        chunk.length for chunk in _chunks(folder.path, sources[0])
    ):
        return
    generation = max(source.generation for source in sources) + 1
    name = SegmentName(sources[0].first, sources[-1].last, generation)
    bases = shelf.bases(sources[0])
    path = create_segment(folder.path, name, bases, chunks=kept(), sealed=True)
    with folder.locked():
        if not set(sources) <= set(list_segments(folder.path)):
            path.unlink()  # retention took some of them meanwhile
            return
        publish(path, name)
        for source in sources:
            remove_segment(folder.path, source)
        folder.marks.change_layout()


def _chunks(folder: Path, name: SegmentName) -> Iterator[Chunk]:
    """The chunks of a segment, in short read transactions."""
    connection = connect(folder / name.file, "mode=ro")
    try:
        after = _BEFORE_ALL
        while rows := connection.execute(_SELECT, (after,)).fetchall():
            yield from map(Chunk._make, rows)
            after = rows[-1][0]
    finally:
        connection.close()
