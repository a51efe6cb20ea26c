"""The database connection: SQLite by default, PostgreSQL by its URL."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from math import ceil
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as NoConnectionFreeError
from sqlalchemy.pool import ConnectionPoolEntry

from sealwax.errors import ConfigurationError
from sealwax.store.file_lock import FileLock
from sealwax.store.relational.errors import StoreAwayError

# Execution option of a connection that will write; see `_begin`.
WRITES = "sealwax_writes"


# What a database that does not answer raises: SQLAlchemy wraps no error of a new connection's
# PRAGMAs and of a raw connection.
AWAY = (DBAPIError, sqlite3.Error, NoConnectionFreeError)


def reason_away(error: Exception) -> str:
    """The driver's own words, without SQLAlchemy's statement and link."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


def make_engine(url_text: str, timeout: timedelta) -> Engine:
    """An engine for `sqlite:///file` or `postgresql://...`; nothing is opened yet.

    Args:
        url_text: Where the database is.
        timeout: How long a call waits for a connection of the pool, in SQLite for its lock (a
            writer holds it for milliseconds, a process that was stopped may hold it longer), and
            for a server to connect and to answer each statement.

    Raises:
        ConfigurationError: The URL is neither, or the driver is not installed.
    """
    try:
        url = make_url(url_text)
    except ArgumentError as error:
        raise ConfigurationError(
            "DATABASE_URL is not a database URL: write sqlite:////path/to/file or "
            "postgresql://user:password@host/database"
        ) from error
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, timeout.total_seconds())
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    try:
        return create_engine(
            url,
            connect_args=_waits(url, timeout),
            pool_pre_ping=True,
            pool_timeout=timeout.total_seconds(),
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"DATABASE_URL names {url.drivername!r}, which is not available here: {error}"
        ) from error


def _waits(url: URL, timeout: timedelta) -> dict[str, object]:
    """Libpq's parameters by which no call waits longer; what the URL says itself stands."""
    if url.get_backend_name() != "postgresql":
        return {}
    timeout_ms = round(timeout.total_seconds() * 1000)
    waits = {
        "connect_timeout": max(2, ceil(timeout.total_seconds())),  # libpq takes 1 for 2
        "tcp_user_timeout": timeout_ms,
        "options": f"-c statement_timeout={timeout_ms}",
    }
    return {name: value for name, value in waits.items() if name not in url.query}


def sqlite_file(engine: Engine) -> Path | None:
    """The database file, or None for a server."""
    is_file = engine.dialect.name == "sqlite" and engine.url.database
    return Path(engine.url.database) if is_file and engine.url.database else None


@contextmanager
def turn(engine: Engine, timeout: timedelta) -> Iterator[None]:
    """Lets the writers of a SQLite file on this machine go one after the other, in turn.

    For what is written all the time by several processes. SQLite's own waiting writer sleeps up to
    100 ms between its tries: of two that write without a pause one waited up to 3.3 s, here up to
    0.13 s. A server has its own queue.

    Raises:
        StoreAwayError: The lock cannot be had, or another process held it for all that time.
    """
    file = sqlite_file(engine)
    if file is None:
        yield
        return
    with ExitStack() as holding:
        try:
            lock = holding.enter_context(closing(FileLock(Path(f"{file}.lock"))))
            holding.enter_context(lock.held(timeout))
        except OSError as error:  # TimeoutError is one
            raise StoreAwayError(f"the database's lock cannot be had: {error}") from error
        yield


def _sqlite_engine(url: URL, timeout_s: float) -> Engine:
    if url.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            "DATABASE_URL names a SQLite database in memory, which the processes of sealwax "
            "cannot share: name a file, sqlite:////path/to/file"
        )
    engine = create_engine(url, connect_args={"timeout": timeout_s}, pool_timeout=timeout_s)
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begin)
    return engine


def _connected(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN comes late and never IMMEDIATE; `_begin` says it instead.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")  # a key that was shown survives a power loss


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then writes can fail at once under WAL, without waiting
    # for the lock (SQLITE_BUSY_SNAPSHOT), so a writer takes the lock at its start.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
