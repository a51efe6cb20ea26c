"""The relational store on both of its databases: a SQLite file and a PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwax.store.relational import RelationalSettings, sqlite_url
from tests.support.postgres import database, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RelationalSettings]:
    """An empty database; a SQLite file has a name that a URL must quote."""
    key = tmp_path / "master.key"
    if request.param == "sqlite":
        yield RelationalSettings(sqlite_url(tmp_path / "a folder?x=1%41#" / "sealwax.db"), key)
        return
    with database(request.getfixturevalue("postgres")) as url:
        yield RelationalSettings(url, key)
