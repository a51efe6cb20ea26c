"""A real API in a process of its own, on a data directory with a store and a log."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Record, TopicPartition
from sealwax.model.topics import REQUESTED
from sealwax.store.analytics.socket import AnalyticsServer
from sealwax.store.processes import ProcessFiles
from sealwax.store.relational import RelationalSettings, Store, open_store, sqlite_url
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
EMAIL: dict[str, Any] = {
    "from": "Acme <hello@acme.test>",
    "to": ["ada@example.test"],
    "subject": "Hi",
    "html": "<p>Hello</p>",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Api:
    """The API, its data directory, and a client with a key of tenant `default`."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        self.store: Store = open_store(
            RelationalSettings(
                sqlite_url(self.data_dir / "sealwax.db"), self.data_dir / "master.key"
            )
        )
        self.store.add_domain("default", "acme.test", trusted=True)
        self.key = self.store.create_key("default", "tests").key
        self.port = free_port()
        self.files = ProcessFiles(self.data_dir)
        self.http = self.client(self.key)
        self._output = folder / "api.txt"
        self._settings = dict(settings)
        self.start()

    def start(self) -> None:
        with self._output.open("a") as output:
            self.process = self.spawn(output)
        wait_until(self._is_up, 20, "the API to be ready")

    def spawn(self, output: Any) -> "subprocess.Popen[bytes]":
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SEALWAX_")}
        own = {
            "PYTHONPATH": str(ROOT),
            "SEALWAX_DATA_DIR": str(self.data_dir),
            "SEALWAX_HTTP": f"127.0.0.1:{self.port}",
            "SEALWAX_MIN_FREE": "0B",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "sealwax.api"],
            env=inherited | own | self._settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.said
        return self.files.ready("api")

    @property
    def said(self) -> str:
        return self._output.read_text()

    def client(self, key: str | None) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=20, trust_env=False
        )

    def send(self, **changes: Any) -> httpx.Response:
        """One email; a field that is None is left out."""
        email = {k: v for k, v in (EMAIL | changes).items() if v is not None}
        return self.http.post("/v1/emails", json=email)

    def records(self) -> list[Record]:
        """Everything in the requested topics."""
        log = open_log(LogSettings(self.data_dir / "log"))
        partitions = [TopicPartition(t, n) for t in REQUESTED for n in range(log.partitions(t))]
        found = [
            record
            for tp in partitions
            for record in log.scan(tp, log.start_offset(tp), log.end_offset(tp))
        ]
        log.close()
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        self.http.close()
        self.store.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def by_id(records: Sequence[Record]) -> dict[str, Record]:
    return {dict(record.headers)["email-id"].decode(): record for record in records}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests of a file."""
    made = Api(tmp_path_factory.mktemp("api"), {})
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Api]:
    """One for this test, with settings from `parametrize(..., indirect=True)` where it has any."""
    made = Api(tmp_path, getattr(request, "param", {}))
    yield made
    made.close()


class Events:
    """What the real server of queries answers: rows that a test puts here."""

    def __init__(self, path: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self._server = AnalyticsServer(path, lambda: self._run)

    def _run(self, _query: str, params: Mapping[str, Any]) -> bytes:
        if "email_id" not in params:
            return b""
        wanted = (params["tenant"], params["email_id"])
        found = [row for row in self.rows if (row["tenant"], row["email_id"]) == wanted]
        return b"\n".join(json.dumps(row).encode() for row in found)

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def events(api: Api) -> Iterator[Events]:
    """Events can be read from a file's first test on that has this."""
    made = Events(api.data_dir / "run" / "analytics.sock")
    yield made
    made.close()
