"""A segment: one SQLite file that holds some offsets of every partition of a topic."""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from connectors.log.sqlite.chunk import Chunk, chunk_id, offset_of
from connectors.log.sqlite.files import sync

# Measured with bench/log.py's shape (5 KB records): 16 KB pages take a third less CPU than 4 KB.
PAGE_BYTES = 16 * 1024
_BUSY_TIMEOUT_MS = 10_000
_WAIT_FOR_READERS_MS = 100
_WRITER_CACHE = "PRAGMA cache_size = -8192"  # KiB
_SUFFIX = ".seg"
_TEMPORARY = ".new"
_FILES = ("", "-wal", "-shm")  # what SQLite adds to the name

_SCHEMA = """
CREATE TABLE chunk(
  id INTEGER PRIMARY KEY, length INTEGER NOT NULL, stamp_ms INTEGER NOT NULL,
  offsets BLOB, records BLOB NOT NULL
);
CREATE TABLE base(
  partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL, stamp_ms INTEGER NOT NULL
);
CREATE TABLE state(id INTEGER PRIMARY KEY CHECK (id = 0), sealed INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);
"""
_INSERT = "INSERT INTO chunk VALUES (?, ?, ?, ?, ?)"
_ROW = ", (?, ?, ?, ?, ?)"
# One statement takes so many rows; a commit seldom has more.
_MAX_ROWS = 100
_LAST = "SELECT id, length, stamp_ms FROM chunk WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1"
_SELECT_SEALED = "SELECT sealed FROM state"
_SEAL = "UPDATE state SET sealed = 1"
_NEVER = -1


class SegmentName(NamedTuple):
    """Which of a topic's files: it stands for the segments `first` to `last` of those ever rolled.

    Compaction merges neighbours; the file with the wider range, or of the higher generation, is
    the one that counts.
    """

    first: int
    last: int
    generation: int = 0

    @property
    def file(self) -> str:
        """Its name in the topic's folder."""
        return f"{self.first:010d}-{self.last:010d}.{self.generation}{_SUFFIX}"

    def replaces(self, other: "SegmentName") -> bool:
        """Whether `other` is left over from before a compaction."""
        return (
            self != other
            and self.first <= other.first
            and self.last >= other.last
            and self.generation >= other.generation
        )


class Bound(NamedTuple):
    """Where a partition starts in a segment, or ends: the next offset, and the last stamp."""

    offset: int
    stamp_ms: int


def list_segments(folder: Path) -> list[SegmentName]:
    """The segments that count, oldest first."""
    names = sorted(filter(None, (_parse(path.name) for path in folder.iterdir())))
    return [name for name in names if not any(other.replaces(name) for other in names)]


def _parse(file: str) -> SegmentName | None:
    if not file.endswith(_SUFFIX):
        return None
    span, _, generation = file.removesuffix(_SUFFIX).partition(".")
    first, _, last = span.partition("-")
    return SegmentName(int(first), int(last), int(generation))


def remove_segment(folder: Path, name: SegmentName) -> None:
    """Unlinks a segment; readers that have it open keep reading it."""
    for suffix in _FILES:
        (folder / f"{name.file}{suffix}").unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes segments that do not count any more, left by a process that died in between.

    The topic's lock must be held. Segments under a temporary name are their maker's business.
    """
    counting = {name.file for name in list_segments(folder)}
    for path in folder.iterdir():
        segment, found, rest = path.name.partition(_SUFFIX)
        if found and rest in _FILES and f"{segment}{_SUFFIX}" not in counting:
            path.unlink(missing_ok=True)


def remove_unpublished(folder: Path) -> None:
    """Removes compacted segments that a process left unfinished; its lock must be held."""
    for path in folder.glob(f"*{_SUFFIX}{_TEMPORARY}*"):
        name = _parse(path.name.partition(_TEMPORARY)[0])
        if name is not None and name.generation > 0:
            path.unlink(missing_ok=True)


def create_segment(
    folder: Path,
    name: SegmentName,
    bases: Sequence[Bound],
    *,
    chunks: Iterable[Chunk] = (),
    sealed: bool = False,
) -> Path:
    """Makes a segment under a temporary name, complete and durable; `publish` puts it in place.

    Args:
        folder: Where.
        name: What it will be called.
        bases: By partition, where it starts.
        chunks: What it holds.
        sealed: Whether nothing is ever appended to it.
    """
    path = folder / f"{name.file}{_TEMPORARY}"
    for suffix in (*_FILES, "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA synchronous = OFF")  # synced as a whole below
        connection.execute("BEGIN")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO base VALUES (?, ?, ?)", [(n, *base) for n, base in enumerate(bases)]
        )
        connection.executemany(_INSERT, chunks)
        connection.execute("UPDATE state SET sealed = ?", (int(sealed),))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        path.unlink(missing_ok=True)
        raise
    connection.close()
    sync(path)
    return path


def publish(path: Path, name: SegmentName) -> None:
    """Gives a created segment its name, durably."""
    path.rename(path.with_name(name.file))
    sync(path.parent)


def connect(path: Path, access: str) -> sqlite3.Connection:
    """Opens a segment that exists; any one thread may use the connection at a time.

    Args:
        path: The segment.
        access: `mode=rw`, `mode=ro`, or `immutable=1`, see connect_for_reading.
    """
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{access}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_TIMEOUT_MS / 1000,
    )


def connect_for_reading(path: Path, *, newest: bool) -> sqlite3.Connection:
    """Opens a segment for reading.

    One that has a successor is sealed, and where its WAL is empty too it is complete in itself:
    it is opened without locks and shared memory, which a full disk could not provide.
    """
    try:
        settled = not newest and path.with_name(f"{path.name}-wal").stat().st_size == 0
    except FileNotFoundError:
        settled = not newest
    return connect(path, "immutable=1" if settled else "mode=ro")


def read_bases(connection: sqlite3.Connection) -> list[Bound]:
    """By partition, where the segment starts."""
    rows = connection.execute("SELECT offset, stamp_ms FROM base ORDER BY partition")
    return [Bound(*row) for row in rows]


def is_sealed(connection: sqlite3.Connection) -> bool:
    """Whether nothing will be appended to the segment any more."""
    return bool(connection.execute(_SELECT_SEALED).fetchone()[0])


def read_end(connection: sqlite3.Connection, partition: int, base: Bound) -> Bound:
    """Where a partition ends in a segment that was never compacted."""
    row = connection.execute(_LAST, (chunk_id(partition, 0), chunk_id(partition + 1, 0))).fetchone()
    if row is None:
        return base
    return Bound(offset_of(row[0]) + row[1], row[2])


class SegmentWriter:
    """The segment that is appended to. The topic's lock must be held for every call."""

    def __init__(self, folder: Path, name: SegmentName) -> None:
        self.name = name
        self._connection = connect(folder / name.file, "mode=rw")
        self._cursor = self._connection.cursor()
        for pragma in (
            "PRAGMA synchronous = FULL",
            # Checkpoints happen between commits and under the topic's lock: a checkpoint beside
            # another process's commit is what SQLite's WAL-reset bug needs (sqlite.org/wal.html,
            # fixed in 3.51.3, and distributions ship older ones).
            "PRAGMA wal_autocheckpoint = 0",
            _WRITER_CACHE,
        ):
            self._cursor.execute(pragma).fetchall()
        self._bases = read_bases(self._connection)
        self._seen = _NEVER
        self._size_bytes = 0
        self.sealed = False
        self.ends: list[Bound] = []

    @property
    def empty(self) -> bool:
        """Whether nothing was ever appended to it."""
        return self.ends == self._bases

    def refresh(self, bell: int) -> None:
        """Notices what other processes appended; free of cost where they did not.

        Args:
            bell: The topic's bell, which only writers change, and which is odd after one died.
        """
        if bell == self._seen and not bell & 1:
            return
        self._seen = bell
        self.sealed = is_sealed(self._connection)
        self.ends = [read_end(self._connection, n, base) for n, base in enumerate(self._bases)]
        self._size_bytes = PAGE_BYTES * self._cursor.execute("PRAGMA page_count").fetchone()[0]

    def append(self, chunks: Sequence[Chunk], roll_bytes: int) -> None:
        """Stores the chunks durably in one transaction, and seals the segment once it is large.

        After an error nothing of it is stored, and the writer must be closed.
        """
        size_bytes = self._size_bytes + sum(len(chunk.records) for chunk in chunks)
        sealed = size_bytes >= roll_bytes
        if sealed or len(chunks) > _MAX_ROWS:
            self._cursor.execute("BEGIN IMMEDIATE")
            self._cursor.executemany(_INSERT, chunks)
            if sealed:
                self._cursor.execute(_SEAL)
            self._cursor.execute("COMMIT")
        else:
            # One step, so that the GIL is given away once.
            statement = _INSERT + _ROW * (len(chunks) - 1)
            self._cursor.execute(statement, list(chain.from_iterable(chunks)))
        self._size_bytes = size_bytes
        self.sealed = sealed

    def note(self, ends: list[Bound], bell: int) -> None:
        """Takes over where the partitions end after an own append, and the bell it left."""
        self.ends = ends
        self._seen = bell

    def seal(self) -> None:
        """Ends the segment, durably."""
        self._cursor.execute(_SEAL)
        self.sealed = True

    def checkpoint(self, *, empty_above_bytes: int) -> None:
        """Moves what it can of the WAL into the segment.

        Args:
            empty_above_bytes: A WAL of this size or more is emptied too: otherwise it is written
                anew from its start once no reader needs it, which may never be. Waits a moment for
                readers.
        """
        moved = self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if moved[1] * PAGE_BYTES >= empty_above_bytes:
            self._cursor.execute(f"PRAGMA busy_timeout = {_WAIT_FOR_READERS_MS}").fetchall()
            self._cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}").fetchall()

    def close(self) -> None:
        """Gives the file back."""
        self._connection.close()
