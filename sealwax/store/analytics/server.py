"""ClickHouse on a server, over its HTTP interface."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import clickhouse_connect
import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error, OperationalError

from sealwax.store.analytics.migrations import migrate
from sealwax.store.analytics.port import AnalyticsAwayError, QueryError, Row
from sealwax.store.analytics.queries import AS_JSON, READ_ONLY, TEXTS, QueriedAnalytics

DEFAULT_DATABASE = "sealwax"
_CONNECT_S = 10
_EXISTS = "SELECT count() FROM system.databases WHERE name = {name:String}"
_STOPPED = 159  # TIMEOUT_EXCEEDED
_NO_TABLES = (60, 81)  # UNKNOWN_TABLE, UNKNOWN_DATABASE: the analytics process makes them


class ClickHouseServer:
    """A database on a server; it may be away at any time.

    Attributes:
        in_process: A call of it ends by its own timeout, and a failure is the server's.
    """

    in_process: ClassVar = False

    def __init__(self, url: str, timeout: timedelta) -> None:
        """Connects to nothing yet.

        Args:
            url: As the setting CLICKHOUSE_URL takes it; parameters are those of
                clickhouse_connect.get_client, such as `ca_cert=/path`.
            timeout: The longest wait for an answer; whole seconds.
        """
        parts = urlsplit(url)
        self.database = unquote(parts.path).strip("/") or DEFAULT_DATABASE
        self._timeout_s = ceil(timeout.total_seconds())
        self._options: dict[str, Any] = {
            **dict(parse_qsl(parts.query)),
            "interface": parts.scheme,
            "host": parts.hostname,
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
        }
        self._client: Client | None = None
        self._lock = threading.Lock()

    def client(self) -> Client:
        """The one client for all who store; the first call brings the schema up to date.

        Thread-safe, and its client is, since it has no session.

        Raises:
            ClickHouseError: The server is away, or refuses.
            ConfigurationError: The tables of a cluster lack something.
        """
        with self._lock:
            if self._client is None:
                self._prepare()
                self._client = self.connect(self.database)
            return self._client

    def connect(self, database: str | None, settings: Mapping[str, Any] | None = None) -> Client:
        """A client of its own, which looks at no schema. Thread-safe, and so is the client."""
        return clickhouse_connect.get_client(
            **self._options,
            database=database,
            settings=dict(settings or {}),
            connect_timeout=min(_CONNECT_S, self._timeout_s),
            send_receive_timeout=self._timeout_s,
            autogenerate_session_id=False,
        )

    def answer(self, _path: Path) -> Callable[[], None]:
        """Nothing: the API asks the server itself."""
        return lambda: None

    def _prepare(self) -> None:
        client = self.connect(None)
        # Asked first, so that a user who may not create databases can be given one.
        if not client.query(_EXISTS, parameters={"name": self.database}).result_rows[0][0]:
            client.command(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")
        migrate(self.connect(self.database))


class ServerQueries:
    """Asks a server. Thread-safe; connects when it is first asked."""

    def __init__(self, server: ClickHouseServer, query_timeout: timedelta) -> None:
        """ClickHouse stops a query after `query_timeout`; whole seconds."""
        self._server = server
        self._settings = {**READ_ONLY, "max_execution_time": ceil(query_timeout.total_seconds())}
        self._lock = threading.Lock()
        self._client: Client | None = None

    def query(self, name: str, params: Mapping[str, Any]) -> Sequence[Row]:
        """The rows of a named query.

        Raises:
            AnalyticsAwayError: The server does not answer in time, or has no tables yet.
            QueryError: It answered with an error.
        """
        try:
            rows = self._connected().raw_query(
                TEXTS[name], dict(params), fmt="JSONEachRow", settings=AS_JSON
            )
        except OperationalError as error:
            raise AnalyticsAwayError(
                "events cannot be read now: ClickHouse does not answer; see CLICKHOUSE_URL"
            ) from error
        except ClickHouseError as error:
            code = error.code if isinstance(error, Error) else None
            if code == _STOPPED:
                text = "events cannot be read now: the query took too long"
                raise AnalyticsAwayError(text) from error
            if code in _NO_TABLES:
                text = "events cannot be read yet: the analytics process has not made the tables"
                raise AnalyticsAwayError(text) from error
            raise QueryError(str(error)) from error
        return [orjson.loads(row) for row in rows.splitlines()]

    def close(self) -> None:
        """Gives the connections back."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = self._server.connect(self._server.database, self._settings)
            return self._client


class ServerAnalytics(QueriedAnalytics):
    """The Analytics port over a server."""

    def __init__(self, server: ClickHouseServer, query_timeout: timedelta) -> None:
        """ClickHouse stops a query after `query_timeout`."""
        self._server_queries = ServerQueries(server, query_timeout)
        super().__init__(self._server_queries)

    def close(self) -> None:
        """Gives the connections back."""
        self._server_queries.close()
