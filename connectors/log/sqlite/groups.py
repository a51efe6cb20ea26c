"""What the groups committed: one small SQLite file for the whole log."""

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from connectors.log.port import MOST_METADATA_BYTES, Committed, TopicPartition
from connectors.log.sqlite.files import storage_error, sync
from sealwax.errors import LogClosedError
from sealwax.store.file_lock import FileLock

_CREATE = """
CREATE TABLE IF NOT EXISTS position(
  consumers TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
  offset INTEGER NOT NULL, metadata TEXT NOT NULL,
  PRIMARY KEY (consumers, topic, partition)
) WITHOUT ROWID
"""
_UPSERT = "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?)"
_SELECT = (
    "SELECT offset, metadata FROM position WHERE consumers = ? AND topic = ? AND partition = ?"
)


class Groups:
    """Committed positions by group. Thread-safe, and several processes may write."""

    def __init__(self, directory: Path, timeout: timedelta) -> None:
        """Opens the file; each call waits at most `timeout` for another process's.

        Raises:
            TimeoutError: Another process held the file for all that time.
        """
        self._directory = directory
        self._lock = threading.Lock()
        self._file_lock = FileLock(directory / "groups.lock")
        self._timeout = timeout
        self._closed = False
        path = directory / "groups.db"
        with self._file_lock.held(self._timeout):
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=timeout.total_seconds()
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_CREATE)
            sync(directory)

    def commit(
        self, group: str, positions: Mapping[TopicPartition, Committed], *, durable: bool
    ) -> None:
        """Stores all positions in one transaction.

        Raises:
            ValueError: Metadata is too long.
            StorageFullError: No room.
            TimeoutError: Another process held the file for too long; nothing is stored.
        """
        for position in positions.values():
            if len(position.metadata.encode()) > MOST_METADATA_BYTES:
                raise ValueError(f"metadata is longer than {MOST_METADATA_BYTES} bytes")
        rows = [(group, *tp, *position) for tp, position in positions.items()]
        with self._lock:
            self._check()
            try:
                with self._file_lock.held(self._timeout):
                    self._store(rows, "FULL" if durable else "NORMAL")
            except (sqlite3.Error, OSError) as error:
                raise storage_error(error, self._directory) from error

    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        """What was committed last, by whichever process."""
        with self._lock:
            self._check()
            row = self._connection.execute(_SELECT, (group, *tp)).fetchone()
        return Committed(*row) if row else None

    def names(self) -> Sequence[str]:
        """Every group that ever committed."""
        with self._lock:
            self._check()
            rows = self._connection.execute("SELECT DISTINCT consumers FROM position ORDER BY 1")
            return [row[0] for row in rows]

    def close(self) -> None:
        """Closes the file. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # The last one to close moves the WAL into the file, which nobody may write meanwhile.
            with suppress(TimeoutError), self._file_lock.held(self._timeout):
                self._connection.close()
            self._file_lock.close()

    def _store(self, rows: Sequence[tuple[object, ...]], synchronous: str) -> None:
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(_UPSERT, rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _check(self) -> None:
        if self._closed:
            raise LogClosedError("the log is closed")
