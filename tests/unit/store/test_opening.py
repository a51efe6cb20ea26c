"""Opening the relational store: first starts, races, and what is refused."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from sealwax.errors import ConfigurationError
from sealwax.policy.idempotency import Take
from sealwax.store.relational import (
    RelationalSettings,
    Store,
    StoreAwayError,
    open_store,
    sqlite_url,
)
from sealwax.store.relational.engine import WRITES, make_engine
from sealwax.store.relational.migrate import HEAD, MIGRATIONS
from sealwax.store.relational.tables import METADATA

ROOT = Path(__file__).parents[3]
OPEN = """
import sys
from pathlib import Path
from sealwax.store.relational import RelationalSettings, open_store
print("ready", flush=True)
sys.stdin.readline()
store = open_store(RelationalSettings(sys.argv[1], Path(sys.argv[2])))
assert len(store.tenants()) == 1
key = store.create_key("default", sys.argv[3])
assert store.tenant_of_key(key.key)
print(key.key, flush=True)
"""


@pytest.fixture
def sqlite(tmp_path):
    return RelationalSettings(sqlite_url(tmp_path / "sealwax.db"), tmp_path / "master.key")


@contextlib.contextmanager
def writing(settings: RelationalSettings) -> Iterator[Connection]:
    """Somebody else's transaction."""
    engine = make_engine(settings.url, settings.timeout)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        yield connection
    engine.dispose()


def test_the_migrations_make_the_tables_that_the_code_uses(settings):
    store = open_store(settings)
    with store._reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    store.close()


def test_the_newest_migration_is_the_one_that_a_start_looks_for():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_a_database_of_an_older_version_keeps_its_rows_and_gets_what_is_missing(settings):
    with closing(open_store(settings)) as store:
        key = store.create_key("default", "a").key
    with writing(settings) as other:
        other.execute(text("DROP TABLE claims"))
        other.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with closing(open_store(settings)) as store:
        assert store.tenant_of_key(key)
        assert store.write_claims([Take("idem:default:k", b"", ("a",), 1_000)])
        with store._reading() as connection:
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_processes_that_start_together_share_one_database_one_key_and_one_tenant(settings):
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OPEN, settings.url, settings.master_key_file, f"key{n}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for n in range(6)
    ]  # fmt: skip
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 6
    store = open_store(settings)
    assert len(store.tenants()) == 1
    assert all(store.tenant_of_key(key) for key in keys)
    store.close()


def test_a_start_that_is_killed_leaves_nothing_that_stops_the_next(settings):
    for after_s in (0.0, 0.02, 0.04, 0.06, 0.08, 0.12, 0.16, 0.25):
        process = subprocess.Popen(
            [sys.executable, "-c", OPEN, settings.url, settings.master_key_file, "key"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.kill()
        process.communicate(timeout=30)
    store = open_store(settings)
    assert [tenant.id for tenant in store.tenants()] == ["default"]
    store.close()


def test_readers_do_not_wait_for_a_writer(settings):
    store = open_store(settings)
    key = store.create_key("default", "a").key
    with writing(settings) as other:
        other.execute(text("UPDATE api_key SET name = 'b'"))
        assert store.tenant_of_key(key)
    store.close()


def test_nobody_else_may_read_the_files(sqlite, tmp_path):
    store = open_store(sqlite)
    store.create_key("default", "a")
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert {"sealwax.db", "sealwax.db-wal", "master.key"} <= set(modes)
    assert set(modes.values()) == {0}
    store.close()


def test_a_database_without_its_master_key_is_refused_and_no_new_key_is_made(settings):
    open_store(settings).close()
    settings.master_key_file.unlink()
    with pytest.raises(ConfigurationError, match="restore it"):
        open_store(settings)
    assert not settings.master_key_file.exists()


def test_another_master_key_is_refused(settings):
    open_store(settings).close()
    settings.master_key_file.write_text("ab" * 32)
    with pytest.raises(ConfigurationError, match="not the master key of this database"):
        open_store(settings)


def test_a_database_of_a_newer_version_is_refused(settings):
    open_store(settings).close()
    with writing(settings) as other:
        other.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer than this sealwax"):
        open_store(settings)


def test_a_file_that_is_no_database_is_refused_unchanged(sqlite, tmp_path):
    (tmp_path / "sealwax.db").write_text("no database " * 1000)
    with pytest.raises(ConfigurationError, match="cannot open the database"):
        open_store(sqlite)
    assert (tmp_path / "sealwax.db").read_text().startswith("no database")


@pytest.mark.skipif(os.geteuid() != 0 and not Path("/proc/version").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot open the database"):
        open_store(
            RelationalSettings(sqlite_url(Path("/proc/x/sealwax.db")), tmp_path / "master.key")
        )


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "oracle9://x/y"]
)
def test_a_url_that_names_no_database_says_what_to_write(tmp_path, url):
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        open_store(RelationalSettings(url, tmp_path / "master.key"))


def test_a_password_is_in_no_error(tmp_path):
    with pytest.raises(ConfigurationError) as error:
        open_store(
            RelationalSettings(
                "postgresql://u:hunter2@127.0.0.1:1/x?connect_timeout=2", tmp_path / "k"
            )
        )
    assert "hunter2" not in str(error.value)


def test_a_database_that_went_away_is_an_error_of_the_store(settings):
    store = open_store(settings)
    with writing(settings) as other:
        other.execute(text("DROP TABLE api_key"))
    with pytest.raises(StoreAwayError, match="did not answer"):
        store.create_key("default", "a")
    store.close()


def test_a_pool_without_a_free_connection_is_a_store_that_is_away(settings):
    store: Store = open_store(replace(settings, timeout=timedelta(seconds=1)))
    held = [store._engine.connect() for _ in range(15)]  # SQLAlchemy's 5 and 10 more
    with pytest.raises(StoreAwayError):
        store.tenants()
    for connection in held:
        connection.close()
    assert store.tenants()
    store.close()
