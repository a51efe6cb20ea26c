"""Durable files and folders, locks, and what SQLite's errors mean."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sealwax.errors import StorageFullError
from sealwax.store.file_lock import FileLock

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# With less than this free, SQLite's general I/O errors (it cannot grow its shared memory file)
# mean a full disk.
_FULL_BELOW_BYTES = 1024 * 1024
_PRIMARY_CODE = 0xFF  # the low byte of an extended result code is the primary one


@contextmanager
def locked(path: Path, timeout: timedelta) -> Iterator[None]:
    """Holds the exclusive lock of a file.

    Each call opens the file anew, so two threads of one process exclude each other too.

    Raises:
        TimeoutError: Somebody else held it for all that time.
    """
    lock = FileLock(path)
    try:
        with lock.held(timeout):
            yield
    finally:
        lock.close()


def sync(path: Path) -> None:
    """Makes a file's bytes, or the names in a folder, survive a power loss.

    Never call it for a file that SQLite has open in this process: closing a descriptor drops
    SQLite's own locks on it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Creates a folder, and those above it that are missing, so that a power loss keeps them."""
    path = path.absolute()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Writes a file whose bytes survive a power loss; its name does once its folder is synced."""
    path.write_bytes(content)
    sync(path)


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds `folder`, for processes without privileges."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def storage_error(error: sqlite3.Error | OSError, folder: Path) -> StorageFullError | OSError:
    """What the port promises for a failed write below `folder`."""
    if isinstance(error, OSError):
        full = error.errno in _NO_ROOM
    else:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        full = code == sqlite3.SQLITE_FULL or (
            code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
            and free_bytes(folder) < _FULL_BELOW_BYTES
        )
    if full:
        return StorageFullError(f"the disk that holds {folder} is full; free some space")
    if isinstance(error, OSError):
        return error
    return OSError(errno.EIO, f"SQLite: {error}", str(folder))
