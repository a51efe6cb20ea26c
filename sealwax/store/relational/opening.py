"""Opening the store: schema, master key and default tenant, made where they are missing."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, select, text

from sealwax.errors import ConfigurationError
from sealwax.store.relational.engine import (
    AWAY,
    WRITES,
    make_engine,
    reason_away,
    sqlite_file,
    turn,
)
from sealwax.store.relational.errors import StoreAwayError
from sealwax.store.relational.migrate import migrate
from sealwax.store.relational.settings import RelationalSettings
from sealwax.store.relational.store import DEFAULT_TENANT_ID, Store, put_tenant
from sealwax.store.relational.tables import INSTALLATION
from sealwax.store.secrets import MasterKey

_FINGERPRINT = "master_key_sha256"
_ADVISORY_LOCK = 0x5EA1  # PostgreSQL: any number that nobody else takes


def open_store(settings: RelationalSettings) -> Store:
    """Opens the store and brings it up to date.

    Any number of processes may do so at once: one makes what is missing, the others wait.

    Raises:
        ConfigurationError: The database cannot be opened or is of a newer sealwax, or the master
            key is missing or is not the one that the database was sealed with.
    """
    engine = make_engine(settings.url, settings.timeout)
    try:
        with _alone(engine, settings.timeout), _transaction(engine) as connection:
            migrate(connection)
            master_key = _master_key(connection, settings.master_key_file)
            put_tenant(connection, DEFAULT_TENANT_ID, "default")
    except AWAY as error:
        engine.dispose()
        raise ConfigurationError(
            f"cannot open the database {engine.url.render_as_string(hide_password=True)}: "
            f"{reason_away(error)}"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, master_key, settings.sending_host, settings.timeout)


@contextmanager
def _alone(engine: Engine, timeout: timedelta) -> Iterator[None]:
    """Holds other starts on the same machine off; a server has its own lock, see `_transaction`."""
    file = sqlite_file(engine)
    if file is None:
        yield
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the mode of the file, so nobody else reads those either.
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigurationError(f"cannot open the database {file}: {error}") from error
    with ExitStack() as holding:
        try:
            holding.enter_context(turn(engine, timeout))
        except StoreAwayError as error:
            raise ConfigurationError(f"cannot open the database {file}: {error}") from error
        _use_wal(engine)
        yield


def _use_wal(engine: Engine) -> None:
    """Readers never wait for a writer. Kept in the file, so only the first start changes it.

    Two that change it at once may fail without waiting, whatever the busy timeout.
    """
    connection = engine.raw_connection()  # the mode cannot change inside a transaction
    try:
        connection.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
        yield connection


def _master_key(connection: Connection, path: Path) -> MasterKey:
    """The key of this database; made only where the database has never seen one."""
    known = connection.execute(
        select(INSTALLATION.c.value).where(INSTALLATION.c.name == _FINGERPRINT)
    ).scalar()
    if known is None:
        key = MasterKey.load_or_create(path)
        connection.execute(insert(INSTALLATION).values(name=_FINGERPRINT, value=_fingerprint(key)))
        return key
    key = MasterKey.load(path)
    if _fingerprint(key) != known:
        raise ConfigurationError(
            f"{path} is not the master key of this database; restore both from the same backup"
        )
    return key


def _fingerprint(key: MasterKey) -> str:
    return hashlib.sha256(key.derive("fingerprint")).hexdigest()
