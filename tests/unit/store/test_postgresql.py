"""What only a server does: it is locked, hangs, or ends our sessions."""

import socket
import time
from datetime import timedelta

import psycopg
import pytest

from sealwax.errors import ConfigurationError
from sealwax.store.relational import RelationalSettings, StoreAwayError, open_store
from tests.support.postgres import database

SHORT = timedelta(seconds=1)


@pytest.fixture
def settings(postgres, tmp_path):
    with database(postgres) as url:
        yield RelationalSettings(url, tmp_path / "master.key", timeout=SHORT)


def test_a_table_that_somebody_locks_is_a_store_that_is_away_in_time(settings):
    store = open_store(settings)
    with psycopg.connect(settings.url) as other:
        other.execute("LOCK TABLE api_key")
        began = time.monotonic()
        with pytest.raises(StoreAwayError, match="statement timeout"):
            store.create_key("default", "mine")
        assert time.monotonic() - began < 5
        other.rollback()
    assert store.tenant_of_key(store.create_key("default", "mine").key)
    store.close()


def test_sessions_that_the_server_ended_are_replaced(settings):
    store = open_store(settings)
    key = store.create_key("default", "mine").key
    with psycopg.connect(settings.url, autocommit=True) as other:
        ended = other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert ended
    assert store.tenant_of_key(key)
    store.close()


def test_a_server_that_takes_connections_and_never_answers_stops_a_start_in_time(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x"
        began = time.monotonic()
        with pytest.raises(ConfigurationError, match="cannot open the database"):
            open_store(RelationalSettings(url, tmp_path / "master.key", timeout=SHORT))
        assert time.monotonic() - began < 10


def test_what_the_url_says_of_waits_stands(settings):
    url = f"{settings.url}&options=-c%20statement_timeout%3D7777"
    store = open_store(RelationalSettings(url, settings.master_key_file, timeout=SHORT))
    with store._reading() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "7777ms"
    store.close()
