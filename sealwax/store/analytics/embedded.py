"""ClickHouse in process: chDB, opened through clickhouse-connect by one process alone."""

import ctypes
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from sealwax.store.analytics.migrations import migrate
from sealwax.store.analytics.queries import AS_JSON, READ_ONLY
from sealwax.store.analytics.socket import AnalyticsServer, RunQuery

_DATABASE = "sealwax"

# chDB handles these as the server does, and sleeps in them, for minutes by measurement, until a
# thread that only the server has has written its report. A process that crashed must end.
_FATAL = (
    signal.SIGABRT,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGILL,
    signal.SIGFPE,
    signal.SIGSYS,
    signal.SIGTRAP,
)

# Bounds the engine's memory; a pool of one thread needs the free-entries limits at 0.
_CONFIG = """<clickhouse>
  <max_server_memory_usage>629145600</max_server_memory_usage>
  <mark_cache_size>8388608</mark_cache_size>
  <primary_index_cache_size>8388608</primary_index_cache_size>
  <index_mark_cache_size>4194304</index_mark_cache_size>
  <query_condition_cache_size>1048576</query_condition_cache_size>
  <background_pool_size>1</background_pool_size>
  <merge_tree>
    <merge_max_block_size>1024</merge_max_block_size>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>0</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_mutation>0</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>0</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""


class EmbeddedClickHouse:
    """One data directory; clients of it, since one client serialises its calls.

    A process makes one of these in its life. Temporary files of the process are kept in the
    directory from then on: the client writes each insert to one, and a kill leaves it behind, with
    all the addresses in it.

    Attributes:
        in_process: A call of it cannot be interrupted, and a failure is this process's own.
    """

    in_process: ClassVar = True

    def __init__(self, directory: Path, query_timeout: timedelta = timedelta(seconds=10)) -> None:
        """Creates the directory and brings its schema up to date.

        Args:
            directory: The data directory.
            query_timeout: ClickHouse stops a query of a `runner` after it; whole seconds.

        Raises:
            clickhouse_connect.driver.exceptions.ProgrammingError: Another process holds it.
        """
        inserts = directory / "inserts"
        inserts.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(inserts)
        self._config = directory.with_suffix(".xml")
        self._config.write_text(_CONFIG)
        self._directory = directory
        self._query_timeout = query_timeout
        self._client(None, {}).command(f"CREATE DATABASE IF NOT EXISTS {_DATABASE} ENGINE = Atomic")
        # Opened, so no other process is at work here: what lies there was left by a kill.
        shutil.rmtree(inserts)
        inserts.mkdir(mode=0o700)
        migrate(self.client())

    def client(self, settings: Mapping[str, Any] | None = None) -> Client:
        """A client of its own, for one thread."""
        return self._client(_DATABASE, settings or {})

    def _client(self, database: str | None, settings: Mapping[str, Any]) -> Client:
        client = clickhouse_connect.get_client(
            interface="chdb",  # as a DSN, but any name of a directory is taken as it is
            path=str(self._directory),
            chdb_options={"config-file": str(self._config)},
            database=database,
            settings=dict(settings),
        )
        _end_when_it_crashes()
        return client

    def runner(self) -> RunQuery:
        """Runs queries that only read, on a client of its own."""
        most_s = ceil(self._query_timeout.total_seconds())
        client = self.client({**READ_ONLY, "max_execution_time": most_s})

        def run(text: str, params: Mapping[str, Any]) -> bytes:
            rows = client.raw_query(text, dict(params), fmt="JSONEachRow", settings=AS_JSON)
            return bytes(rows)

        return run

    def answer(self, path: Path) -> Callable[[], None]:
        """Answers queries on a Unix socket, since no other process can open the directory.

        Returns:
            What ends it.
        """
        return AnalyticsServer(path, self.runner, self._query_timeout).close


def _end_when_it_crashes() -> None:
    """Takes back chDB's signal handlers, which it sets with every client."""
    libc = ctypes.CDLL(None)
    for number in _FATAL:
        libc.signal(number, int(signal.SIG_DFL))  # signal.signal works in the main thread only
