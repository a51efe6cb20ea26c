"""Queries over a Unix socket: the process that owns the ClickHouse directory answers them.

One JSON object a line: {"query": name, "params": {...}} is answered by {"rows": [...]} or
{"error": text}.
"""

import json
import os
import queue
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from typing_extensions import override

from sealwax.store.analytics.port import AnalyticsAwayError, QueryError, Row
from sealwax.store.analytics.queries import TEXTS, QueriedAnalytics

_TIMEOUT = timedelta(seconds=15)
_MAX_LINE = 1 << 20
_KEPT_CONNECTIONS = 8
_RUNNERS = 4
_STOPPED = "Code: 159"  # ClickHouse's TIMEOUT_EXCEEDED

logger = structlog.get_logger(__name__)

# Query text and bound values -> rows as JSON objects, one a line.
RunQuery = Callable[[str, Mapping[str, Any]], bytes]


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """An address for `path` of any length: the system takes 107 bytes at most."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class _Handler(socketserver.StreamRequestHandler):
    server: "AnalyticsServer"

    @override
    def handle(self) -> None:
        # An asker that goes away takes its answer with it.
        with suppress(ConnectionError):
            while line := self.rfile.readline(_MAX_LINE):
                if not line.endswith(b"\n"):
                    self.wfile.write(self._error(f"a question is one line below {_MAX_LINE} bytes"))
                    return  # the rest of the line is no question
                self.wfile.write(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            rows = self.server.run(TEXTS[question["query"]], question["params"])
        except (ValueError, KeyError, TypeError) as error:
            return self._error(f"no such question: {error!r}")
        except Exception as error:
            logger.exception("query failed")
            return self._error(str(error))
        return b'{"rows": [' + b",".join(rows.splitlines()) + b"]}\n"

    def _error(self, text: str) -> bytes:
        return json.dumps({"error": text}).encode() + b"\n"


class AnalyticsServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers named queries: a thread for each connection, and a few runners that all share.

    Runners are kept for good. A client of chDB never gives back what it took (measured: 1.7 MB,
    8 files and 4 threads each, closed or not), so their number does not follow the connections.
    """

    daemon_threads = True
    # A full queue refuses at once: there are more threads that ask than the default of 5.
    request_queue_size = 128

    def __init__(
        self, path: Path, make_runner: Callable[[], RunQuery], patience: timedelta = _TIMEOUT
    ) -> None:
        """Listens on `path`, readable by this user alone; what stood there before is replaced.

        Args:
            path: Where the socket is made.
            make_runner: Makes a runner; each bounds its own queries.
            patience: How long a query waits for a runner.
        """
        self._make_runner = make_runner
        self._patience_s = patience.total_seconds()
        self._open: set[socket.socket] = set()
        # The last one given back is the next one taken, so quiet times make one runner.
        self._runners: queue.LifoQueue[RunQuery | None] = queue.LifoQueue()
        for _ in range(_RUNNERS):
            self._runners.put(None)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        with _address(path) as address:
            super().__init__(address, _Handler)
        path.chmod(0o600)
        self._thread = threading.Thread(target=self.serve_forever, name="queries", daemon=True)
        self._thread.start()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    @override
    def close_request(self, request: Any) -> None:
        self._open.discard(request)
        super().close_request(request)

    @override
    def server_bind(self) -> None:
        previous = os.umask(0o177)
        try:
            super().server_bind()
        finally:
            os.umask(previous)

    def run(self, text: str, params: Mapping[str, Any]) -> bytes:
        """Runs a query as soon as a runner is free.

        Raises:
            TimeoutError: None was, for too long.
        """
        try:
            runner = self._runners.get(timeout=self._patience_s)
        except queue.Empty:
            raise TimeoutError(f"{_STOPPED}. No runner was free in time") from None
        try:
            runner = runner or self._make_runner()
            return runner(text, params)
        finally:
            self._runners.put(runner)

    def close(self) -> None:
        """Stops answering, hangs up, and removes the socket."""
        self.shutdown()
        self.server_close()
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._path.unlink(missing_ok=True)


class _Connection:
    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            with _address(path) as address:
                self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")

    def ask(self, question: bytes) -> bytes:
        self._socket.sendall(question)
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed")
        return line

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class SocketQueries:
    """Asks an AnalyticsServer. Thread-safe; connections are kept and made anew when they broke."""

    def __init__(self, path: Path, timeout: timedelta = _TIMEOUT) -> None:
        """Waits at most `timeout` for an answer."""
        self._path = path
        self._timeout_s = timeout.total_seconds()
        self._lock = threading.Lock()
        self._kept: list[_Connection] = []

    def query(self, name: str, params: Mapping[str, Any]) -> Sequence[Row]:
        """The rows of a named query.

        Raises:
            AnalyticsAwayError: The analytics process does not answer in time.
            QueryError: It answered with an error.
        """
        question = json.dumps({"query": name, "params": params}).encode() + b"\n"
        answer = json.loads(self._ask(question))
        if "error" in answer:
            if _STOPPED in answer["error"]:
                raise AnalyticsAwayError("events cannot be read now: the query took too long")
            raise QueryError(answer["error"])
        rows: list[Row] = answer["rows"]
        return rows

    def close(self) -> None:
        """Closes the kept connections."""
        with self._lock:
            while self._kept:
                self._kept.pop().close()

    def _ask(self, question: bytes) -> bytes:
        with self._lock:
            kept = self._kept.pop() if self._kept else None
        try:
            if kept is not None:
                # It may have broken meanwhile; queries change nothing, so ask again.
                with suppress(ConnectionError):
                    return self._asked(kept, question)
            return self._asked(_Connection(self._path, self._timeout_s), question)
        except OSError as error:
            raise AnalyticsAwayError(
                "events cannot be read now: the analytics process does not answer"
                f" ({error.strerror or error}); is `sealwax up` running?"
            ) from error

    def _asked(self, connection: _Connection, question: bytes) -> bytes:
        try:
            answer = connection.ask(question)
        except OSError:
            connection.close()
            raise
        with self._lock:
            if len(self._kept) < _KEPT_CONNECTIONS:
                self._kept.append(connection)
                return answer
        connection.close()
        return answer


class SocketAnalytics(QueriedAnalytics):
    """The Analytics port over the socket of the analytics process."""

    def __init__(self, path: Path, timeout: timedelta = _TIMEOUT) -> None:
        """Waits at most `timeout` for an answer."""
        self._socket_queries = SocketQueries(path, timeout)
        super().__init__(self._socket_queries)

    def close(self) -> None:
        """Closes the kept connections."""
        self._socket_queries.close()
