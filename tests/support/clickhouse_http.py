"""A stand-in for a ClickHouse server: its HTTP interface over a real engine, chDB.

No package that may be installed here carries a server. What the platform's client sends goes through
a real socket, and each statement runs in ClickHouse's own engine, which keeps its data over kill -9.
Imitated by the rules of the interface's documentation are: parameters, settings, bodies, statuses,
headers. Not there: replicas, ON CLUSTER, users and rights, progress headers, async inserts.

python -m tests.support.clickhouse_http DIRECTORY PORT (of the loopback; user `sealwax`, password
`secret`)
"""

import base64
import gzip
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import httpx
import lz4.frame
from backports import zstd
from typing_extensions import override

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "sealwax", "secret"
_OF_THE_TRANSPORT = {
    "query", "database", "default_format", "query_id", "session_id", "wait_end_of_query",
    "client_protocol_version", "enable_http_compression", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
}  # fmt: skip
_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?P<into>.+?)\s+FORMAT\s+(?P<format>\w+)[ \t]*(\n|$)(?P<data>.*)",
    re.IGNORECASE | re.DOTALL,
)
_READS = re.compile(r"\s*(SELECT|SHOW|DESC|EXPLAIN|WITH|EXISTS)\b", re.IGNORECASE)
_FORMAT = re.compile(r"FORMAT\s+(\w+)\s*$", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "lz4": lz4.frame.decompress,
    "gzip": gzip.decompress,
    "zstd": zstd.decompress,
}
_STATUSES = {516: 403, 60: 404, 81: 404, 62: 400, 164: 403}


class StandInServer(ThreadingHTTPServer):
    """A thread for each connection, an engine's connection for each statement at work."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, directory: Path, port: int) -> None:
        self._path = str(directory)
        self._kept: queue.LifoQueue[Any] = queue.LifoQueue()
        self._kept.put(chdb.connect(self._path))
        super().__init__(("127.0.0.1", port), _Handler)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        try:
            connection = self._kept.get_nowait()
        except queue.Empty:
            connection = chdb.connect(self._path)
        try:
            yield connection
        finally:
            self._kept.put(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandInServer

    @override
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self._answer(200, b"Ok.\n", {})
        else:
            self.do_POST()

    def do_POST(self) -> None:
        body = _DECODERS[self.headers.get("Content-Encoding", "")](self._body())
        params = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        self._query_id = params.get("query_id") or str(uuid.uuid4())
        try:
            self._authenticate()
            self._answer(200, *self._run(params, body))
        except RuntimeError as error:
            text = str(error)
            found = _CODE.search(text)
            code = int(found[1]) if found else 1001
            shown = text[text.find("Code: ") :] if found else text
            headers = {"X-ClickHouse-Exception-Code": str(code)}
            self._answer(_STATUSES.get(code, 500), shown.encode(), headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            assert len(parts[-1]) == size, "the client went away"
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given).decode() != f"{USER}:{PASSWORD}":
            raise RuntimeError(
                "Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)"
            )

    def _run(self, params: dict[str, str], body: bytes) -> tuple[bytes, dict[str, str]]:
        settings = {
            name: value
            for name, value in params.items()
            if name not in _OF_THE_TRANSPORT and not name.startswith("param_")
        }
        bound = {n.removeprefix("param_"): v for n, v in params.items() if n.startswith("param_")}
        query = params.get("query", "").encode()
        text = query + b"\n" + body if query and body else query or body
        with self.server.connection() as connection:
            connection.query(f"USE `{params.get('database', 'default')}`")
            if insert := _INSERT.fullmatch(text):
                return self._insert(connection, insert, settings)
            return self._query(connection, text.decode(), settings, bound, params)

    def _insert(
        self, connection: Any, insert: re.Match[bytes], settings: dict[str, str]
    ) -> tuple[bytes, dict[str, str]]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(insert["data"])
            file.flush()
            sql = (
                f"INSERT INTO {insert['into'].decode()} FROM INFILE '{file.name}'"
                f"{_clause(settings)} FORMAT {insert['format'].decode()}"
            )
            done = connection.query(sql)
        return b"", _summary(written_rows=done.rows_read())

    def _query(
        self,
        connection: Any,
        text: str,
        settings: dict[str, str],
        bound: dict[str, str],
        params: dict[str, str],
    ) -> tuple[bytes, dict[str, str]]:
        reads = _READS.match(text) is not None
        if settings.pop("readonly", "0") != "0" and not reads:
            raise RuntimeError("Code: 164. DB::Exception: Cannot execute query in readonly mode.")
        named = _FORMAT.search(text)
        form = named[1] if named else params.get("default_format", "TabSeparated")
        for name, value in settings.items():
            connection.query(f"SET {name} = {_quoted(value)}")
        try:
            answer = connection.query(text, form, params=bound)
        finally:
            for name in settings:
                connection.query(f"SET {name} = DEFAULT")
        headers = _summary(read_rows=answer.rows_read())
        return answer.bytes(), {**headers, "X-ClickHouse-Format": form} if reads else headers

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "X-ClickHouse-Query-Id": getattr(self, "_query_id", ""),
            "X-ClickHouse-Timezone": "UTC",
            **headers,
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _clause(settings: dict[str, str]) -> str:
    listed = ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items())
    return f" SETTINGS {listed}" if listed else ""


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _summary(**counts: int) -> dict[str, str]:
    return {"X-ClickHouse-Summary": json.dumps({k: str(v) for k, v in counts.items()})}


class StandIn:
    """A stand-in in a process of its own; it keeps its port and its data over restarts."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        # Kept: to make one costs more than to ask.
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    @property
    def url(self) -> str:
        """As the setting CLICKHOUSE_URL takes it."""
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}/sealwax"

    def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._directory.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._directory), str(self.port)],
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._answers, 60, "the ClickHouse stand-in")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def query(self, text: str) -> list[list[object]]:
        """Rows of a query, in the platform's database."""
        answer = self._client.post(
            "/",
            params={"database": "sealwax"},
            content=f"{text} FORMAT JSONCompact",
            auth=(USER, PASSWORD),
        )
        assert answer.status_code == 200, answer.text
        rows: list[list[object]] = answer.json()["data"]
        return rows

    def close(self) -> None:
        """Lets go of the client."""
        self._client.close()

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "it ended"
        try:
            return self._client.get("/ping", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running_clickhouse(directory: Path) -> Iterator[StandIn]:
    """A stand-in that is killed when the block ends."""
    stand_in = StandIn(directory)
    stand_in.start()
    try:
        yield stand_in
    finally:
        stand_in.kill()
        stand_in.close()


def main(directory: str, port: str) -> None:
    # The parent is a test: without it nobody needs this.
    os.environ.setdefault("TZ", "UTC")
    StandInServer(Path(directory), int(port)).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
