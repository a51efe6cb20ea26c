"""A client, the log or analytics that do not go on: what the API answers, and when."""

import fcntl
import socket
import time

import pytest

from sealwax.model.topics import Stream, requested
from tests.unit.api.conftest import Api

pytestmark = pytest.mark.parametrize(
    "fresh",
    [
        {
            "SEALWAX_HTTP_BODY_TIMEOUT": "1s",
            "SEALWAX_HTTP_HEADER_TIMEOUT": "1s",
            "SEALWAX_LOG_TIMEOUT": "1s",
            "SEALWAX_ANALYTICS_TIMEOUT": "1s",
        }
    ],
    indirect=True,
)


def said_to(api: Api, request: bytes) -> tuple[bytes, float]:
    """What the API says to an unfinished request until it closes, and after how many seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", api.port)) as client:
        client.settimeout(10)
        client.sendall(request)
        said = client.recv(65_536)
    return said, time.monotonic() - begun


def test_half_a_body_is_408_and_half_a_header_is_no_answer(fresh: Api):
    head = (
        f"POST /v1/emails HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {fresh.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n"
    ).encode()
    said, took_s = said_to(fresh, head + b"\r\n" + b'{"from": ')
    assert said.startswith(b"HTTP/1.1 408")
    assert b"/problems/body-too-slow" in said
    assert 1 <= took_s < 5
    said, took_s = said_to(fresh, head)
    assert b" 200 " not in said
    assert b" 202 " not in said
    assert 1 <= took_s < 5
    assert fresh.records() == []


def test_a_log_that_another_process_holds_is_503_and_nothing_was_accepted(fresh: Api):
    path = fresh.data_dir / "log" / requested(Stream.TRANSACTIONAL) / "append.lock"
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        begun = time.monotonic()
        answer = fresh.send()
        assert 1 <= time.monotonic() - begun < 5
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/log-away"
    assert fresh.records() == []
    assert fresh.send().status_code == 202
    assert len(fresh.records()) == 1


def test_an_analytics_process_that_never_answers_is_503(fresh: Api):
    (fresh.data_dir / "run").mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(fresh.data_dir / "run" / "analytics.sock"))
        listener.listen()
        begun = time.monotonic()
        answer = fresh.http.get("/v1/stats")
        assert 1 <= time.monotonic() - begun < 5
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/events-away"
