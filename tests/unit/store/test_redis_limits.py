"""Limits in a real Valkey server: how it is reached, and what is said and kept when it is not."""

import logging
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import redis
import structlog
import trustme

from sealwax.config import load
from sealwax.errors import ConfigurationError
from sealwax.policy.throttle import Rate
from sealwax.store.limits import InProcessLimits, open_limits
from sealwax.store.limits.redis import RedisLimits, RedisSettings, _connect
from tests.support.valkey import Valkey, running_valkey
from tests.support.waiting import ends_within, wait_until

ROOT = Path(__file__).parents[3]
SECOND = timedelta(seconds=1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def opened(url: str, prefix: str = "test") -> RedisLimits:
    return RedisLimits.open(RedisSettings(url, SECOND, prefix), lambda *_: None)


def free(limits: RedisLimits, most: int = 3) -> int:
    """The permits that one gets who asks for all."""
    permits = limits.permits("site:a", most)
    return permits.room(most, time.monotonic() * 1000)


def has_all(limits: RedisLimits) -> bool:
    return free(limits) == 3


def test_without_a_server_the_process_counts_for_itself():
    assert isinstance(open_limits(None, lambda *_: None), InProcessLimits)


def test_what_one_process_holds_another_does_not_get_until_it_closes(valkey):
    first, second = opened(valkey.url, "closing"), opened(valkey.url, "closing")
    permits = first.permits("site:a", 3)
    wait_until(lambda: free(first) == 3, 10, "the first to have all")
    permits.take(3)
    free(second)
    time.sleep(0.5)
    assert free(second) == 0
    permits.give_back(3)
    first.close()
    wait_until(lambda: free(second) == 3, 10, "the second to have all")
    second.close()
    third = opened(valkey.url, "closing")  # with the last that left nothing was forgotten
    assert third._since == second._since, "three seconds of silence"
    wait_until(lambda: free(third) == 3, 10, "the third to have all")
    third.close()


def test_two_prefixes_share_nothing(valkey):
    first, second = opened(valkey.url, "one"), opened(valkey.url, "another")
    for limits in (first, second):
        wait_until(partial(has_all, limits), 10, "each to have all")
        limits.permits("site:a", 3).take(3)
    first.close()
    second.close()


def test_a_process_that_never_saw_the_server_takes_one_permit_and_a_sixteenth_of_a_rate(
    tmp_path, stack
):
    server = Valkey(tmp_path)
    stack.callback(server.stop)
    limits = opened(server.url)
    stack.callback(limits.close)
    assert free(limits, 20) == 1
    rate = limits.rate("site:a", Rate(10))
    now_ms = time.monotonic() * 1000
    assert [rate.take(3, now_ms + ms).granted for ms in (0, 159, 160, 319)] == [1, 0, 1, 0]
    server.start()
    wait_until(lambda: free(limits, 20) == 20, 20, "all permits of a server that came")


def test_a_server_that_is_away_is_one_line_and_coming_back_another(tmp_path, capsys):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with running_valkey(tmp_path) as server:
        patient = RedisSettings(server.url, 5 * SECOND)  # it is away when it is killed, not before
        limits = RedisLimits.open(patient, lambda *_: None)
        wait_until(lambda: free(limits) == 3, 20, "permits")
        server.kill()
        wait_until(lambda: limits.counts.failed >= 3, 20, "some calls to fail")
        assert limits.counts.lost == 1
        server.start()
        wait_until(lambda: limits.standing.away_since_ms is None, 20, "it to be back")
        limits.close()
    said = capsys.readouterr().out
    assert said.count("shared limits are away") == 1
    assert said.count("shared limits are back") == 1
    assert "lost=1" in said


@pytest.mark.parametrize("password", ["s3cret", "wrong-s3cret"])
def test_a_password_is_used_and_never_shown(tmp_path, capsys, password):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with running_valkey(tmp_path, "--requirepass", "s3cret") as server:
        limits = opened(f"redis://:{password}@127.0.0.1:{server.port}/0")
        if password == "s3cret":
            wait_until(lambda: limits.counts.calls, 10, "an answer")
        else:
            assert limits.counts.calls == 0
        limits.close()
    said = capsys.readouterr().out
    assert ("invalid username-password pair" in said) == (password != "s3cret")
    assert "s3cret" not in said
    assert "s3cret" not in repr(RedisSettings(f"redis://:{password}@h", SECOND))


@contextmanager
def tls_before(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that speaks TLS and passes on what it hears; the wheel's has none."""
    done = threading.Event()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)

    def serve(listener: socket.socket) -> None:
        while not done.is_set():
            with suppress(OSError):
                heard = context.wrap_socket(listener.accept()[0], server_side=True)
                with heard, socket.create_connection(("127.0.0.1", port)) as server:
                    back = threading.Thread(target=pump, args=(server, heard))
                    back.start()
                    pump(heard, server)
                    server.shutdown(socket.SHUT_RDWR)
                    back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join(10)  # not for ever: where the test failed its connection is open


def test_tls_is_verified(valkey, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tls_before(valkey.port, context) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        for options, answers in ((f"?ssl_ca_certs={tmp_path / 'ca.pem'}", True), ("", False)):
            limits = opened(url + options)
            if answers:
                wait_until(partial(getattr, limits.counts, "calls"), 10, "an answer")
            assert bool(limits.counts.calls) == answers
            limits.close()


def test_a_call_for_a_thousand_limits_is_two_calls(valkey):
    # Without its thread, which calls while the questions are still made.
    limits = RedisLimits(_connect(RedisSettings(valkey.url, 5 * SECOND, "many")), lambda *_: None)
    limits.turn()
    before = limits.counts.calls
    for n in range(1_000):
        limits.permits(f"site:{n}", 3).room(1, time.monotonic() * 1000)
    limits.turn()
    assert limits.counts.calls == before + 2
    limits.close()


@pytest.mark.parametrize(
    "url",
    ["http://:s3cret@localhost", "redis://:s3cret@localhost:s3cret/0", "redis://h?s3cret=1", "x"],
)
def test_a_url_that_cannot_be_right_is_refused_at_the_start_and_not_repeated(url):
    with pytest.raises(ConfigurationError, match="REDIS_URL") as refused:
        load({"REDIS_URL": url})
    assert "s3cret" not in str(refused.value)
    assert "redis://localhost:6379/0" in str(refused.value)


def test_nothing_but_dispatch_imports_the_client():
    program = (
        "import sys; import sealwax.config as c; c.load(); import flows.dispatch, sealwax.api.app;"
        "print('redis' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


def test_what_is_in_the_server_ends_by_itself(valkey):
    limits = opened(valkey.url, "ends")
    found: list[int] = []
    wait_until(lambda: free(limits) == 3, 10, "permits")
    rate = limits.rate("site:a", Rate(10))
    with redis.Redis(port=valkey.port) as client:

        def are_all_there() -> bool:
            rate.take(1, time.monotonic() * 1000)
            found[:] = [client.pttl(key) for key in client.scan_iter("{ends}*")]
            return len(found) == 4

        wait_until(are_all_there, 10, "all kinds of keys")
        assert -1 not in found  # never, by Redis
    limits.close()


def test_a_redis_that_does_not_answer_leaves_a_process_its_own_part_of_the_limits(valkey):
    settings = RedisSettings(valkey.url, timedelta(seconds=0.3), prefix="hanging")
    limits = RedisLimits.open(settings, lambda *_: None)
    permits = limits.permits("site:a", 4)

    def room() -> int:
        return permits.room(4, time.monotonic() * 1000)

    wait_until(lambda: room() == 4, 10, "all permits")
    valkey.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: limits.standing.away_since_ms is not None, 10, "it to be away")
        with ends_within(5):
            assert room() == 4  # it is the only one there
        with ends_within(10):
            limits.close()
    finally:
        valkey.signal(signal.SIGCONT)


def test_a_start_waits_for_a_redis_that_does_not_answer_no_longer_than_its_timeout():
    with socket.create_server(("127.0.0.1", 0)) as listener, ends_within(10):
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        limits = RedisLimits.open(RedisSettings(url, timedelta(seconds=0.3)), lambda *_: None)
        assert limits.permits("site:a", 4).room(4, time.monotonic() * 1000) == 1
        limits.close()
