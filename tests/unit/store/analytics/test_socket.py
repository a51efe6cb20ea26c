"""Queries over the Unix socket: who may ask, what is answered, what happens when nobody answers."""

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sealwax.store.analytics.port import AnalyticsAwayError, QueryError
from sealwax.store.analytics.socket import (
    AnalyticsServer,
    SocketAnalytics,
    SocketQueries,
)

_PARAMS = {"tenant": "t", "email_id": "x"}


def echo(text: str, params: Any) -> bytes:
    if params.get("tenant") == "breaks":
        raise RuntimeError("the engine says no")
    return json.dumps({"got": params}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "analytics.sock"


@pytest.fixture
def server(path: Path) -> Iterator[AnalyticsServer]:
    server = AnalyticsServer(path, lambda: echo)
    yield server
    server.close()


def raw(path: Path, *lines: bytes) -> list[dict[str, Any]]:
    """The answers to lines as they are."""
    with closing(socket.socket(socket.AF_UNIX)) as asker:
        asker.settimeout(5)
        asker.connect(str(path))
        asker.sendall(b"".join(lines))
        with asker.makefile("rb") as file:
            return [json.loads(file.readline()) for _ in lines]


def test_only_the_user_of_the_platform_may_ask(path, server):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"1\n",
        b'{"query": "rows_of_email"}\n',
        b'{"query": "drop", "params": {}}\n',
        b'{"query": ["rows_of_email"], "params": {}}\n',
        b'{"query": "rows_of_email", "params": 5}\n',
        b'{"query": "rows_of_email", "params": {"tenant": "breaks"}}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_bad_question_gets_an_error_and_the_connection_goes_on(path, server, line):
    good = json.dumps({"query": "rows_of_email", "params": _PARAMS}).encode() + b"\n"
    bad, rows = raw(path, line, good)
    assert set(bad) == {"error"}
    assert rows == {"rows": [{"got": _PARAMS}]}


def test_a_question_without_an_end_is_refused(path, server):
    assert set(raw(path, b"x" * (1 << 20))[0]) == {"error"}


def test_the_asker_gets_rows_or_the_error(path, server):
    with closing(SocketQueries(path)) as queries:
        assert queries.query("rows_of_email", _PARAMS) == [{"got": _PARAMS}]
        with pytest.raises(QueryError, match="the engine says no"):
            queries.query("rows_of_email", {"tenant": "breaks"})


def test_a_socket_that_a_killed_process_left_is_replaced(path):
    path.parent.mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(path))
    with closing(AnalyticsServer(path, lambda: echo)), closing(SocketQueries(path)) as queries:
        assert queries.query("rows_of_email", _PARAMS)
    assert not path.exists()


def test_a_path_that_is_longer_than_the_system_takes_works(tmp_path):
    path = tmp_path / ("d" * 120) / "analytics.sock"
    with closing(AnalyticsServer(path, lambda: echo)), closing(SocketQueries(path)) as queries:
        assert queries.query("rows_of_email", _PARAMS)


def test_nobody_there_is_said_in_a_sentence(path):
    with pytest.raises(AnalyticsAwayError, match="is `sealwax up` running"):
        SocketAnalytics(path).rows_of_email("t", "x")


def test_the_asker_goes_on_when_the_process_was_started_anew(path):
    with closing(SocketQueries(path)) as queries:
        for _ in range(2):
            with closing(AnalyticsServer(path, lambda: echo)):
                assert queries.query("rows_of_email", _PARAMS)
        with pytest.raises(AnalyticsAwayError):
            queries.query("rows_of_email", _PARAMS)


def test_many_threads_ask_at_once_and_few_runners_answer(path):
    made: list[Callable[..., bytes]] = []
    at_once = threading.Semaphore(4)

    def runner() -> Callable[..., bytes]:
        def run(text: str, params: Any) -> bytes:
            if not at_once.acquire(blocking=False):
                raise AssertionError("more than four queries ran at once")
            try:
                return echo(text, params)
            finally:
                at_once.release()

        made.append(run)
        return run

    def ask(queries: SocketQueries, number: int) -> Any:
        return queries.query("rows_of_email", {"number": number})

    with (
        closing(AnalyticsServer(path, runner)),
        closing(SocketQueries(path)) as queries,
        ThreadPoolExecutor(24) as pool,
    ):
        answers = list(pool.map(lambda n: ask(queries, n), range(500)))
    assert answers == [[{"got": {"number": n}}] for n in range(500)]
    assert len(made) <= 4
