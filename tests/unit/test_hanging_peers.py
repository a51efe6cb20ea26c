"""Each peer in turn does not answer: every wait ends in time, and with the outcome that is said.

The table of these outcomes is in docs/operations.md.
"""

import asyncio
import fcntl
import socket
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Entry, Log, TopicPartition
from sealwax.api.appends import Appends
from sealwax.errors import ConfigurationError, LogAwayError, NotConfirmedError
from sealwax.model.reply import Command
from sealwax.model.topics import TopicSpec
from sealwax.smtp.route import Route
from sealwax.store.file_lock import FileLock
from sealwax.store.relational import (
    RelationalSettings,
    StoreAwayError,
    open_store,
    sqlite_url,
)
from tests.support.smtp_dns import SILENT, dns_server
from tests.support.smtp_engine import MESSAGE, PATIENT, QUICK, job, running_engine
from tests.support.smtp_server import TLS_EHLO, Act, Script, scripted
from tests.support.waiting import ends_within, wait_until

SHORT = timedelta(seconds=0.3)
TOPIC = "orders"
TP = TopicPartition(TOPIC, 0)
ROOT = Path(__file__).parents[2]


@contextmanager
def flocked(path: Path) -> Iterator[None]:
    """Held as another process would hold it: by another open file."""
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# SMTP and DNS


def test_dns_that_does_not_answer_defers_the_mail():
    zone = {("example.test", "MX"): SILENT}
    with dns_server(zone) as server, ends_within(5):
        settings = {"nameservers": ("127.0.0.1",), "nameserver_port": server.port}
        with running_engine(dns_timeout=SHORT, **settings) as engine:
            (result,) = engine.send(job(None))
    assert (result.reply.command, result.reply.status) == (Command.ROUTE, "4.4.3")
    assert not result.reply.permanent


def test_connections_that_are_all_in_use_defer_the_mail():
    """Sites that hold every connection and never answer: the mail of others is not held with them."""
    minute = timedelta(minutes=1)
    with (
        scripted(Script(banner=Act.SILENCE)) as silent,
        scripted() as other,
        running_engine(open_sessions=1, banner_timeout=minute, room_timeout=SHORT) as engine,
        ends_within(10),
    ):
        engine.submit(job(silent.port))
        wait_until(lambda: silent.connections, 5, "the connection")
        engine.submit(job(other.port))
        (result,) = engine.wait_for(1)
    assert (result.reply.command, result.reply.status) == (Command.ROUTE, "4.4.5")
    assert not result.reply.permanent
    assert other.connections == []


def test_a_look_up_of_the_machine_that_takes_too_long_defers_the_mail(monkeypatch):
    answered = threading.Event()

    async def hang(*_: object, **__: object) -> object:
        await asyncio.get_running_loop().run_in_executor(None, answered.wait)
        return []

    import uvloop

    monkeypatch.setattr(uvloop.Loop, "getaddrinfo", hang)
    with scripted() as server, running_engine(dns_timeout=SHORT) as engine, ends_within(5):
        (result,) = engine.send(job(None, route=Route("localhost", server.port)))
        answered.set()
    assert (result.reply.command, result.reply.status) == (Command.ROUTE, "4.4.3")


@pytest.mark.parametrize(
    ("script", "setting", "command", "in_doubt"),
    [
        (Script(banner=Act.SILENCE), "banner_timeout", Command.BANNER, False),
        (Script(ehlo=Act.SILENCE), "command_timeout", Command.EHLO, False),
        (Script(ehlo="502 5.5.1 what?", helo=Act.SILENCE), "command_timeout", Command.EHLO, False),
        (Script(mail=Act.SILENCE), "command_timeout", Command.MAIL, False),
        (Script(rcpt=Act.SILENCE), "command_timeout", Command.RCPT, False),
        (Script(data=Act.SILENCE), "data_timeout", Command.DATA, False),
        (Script(read_slowly=True), "block_timeout", Command.DATA, False),
        (Script(dot=Act.SILENCE), "dot_timeout", Command.DOT, True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_step_without_a_reply_defers_the_mail(script, setting, command, in_doubt):
    """All others have a minute, so that it is this timeout that ends the step."""
    minute = timedelta(minutes=1)
    patient = replace(
        QUICK,
        banner_timeout=minute,
        command_timeout=minute,
        data_timeout=minute,
        block_timeout=minute,
        dot_timeout=minute,
    )
    message = MESSAGE + b"x\r\n" * 3_000_000 if script.read_slowly else MESSAGE
    with (
        scripted(script) as server,
        running_engine(patient, **{setting: SHORT}) as engine,
        ends_within(5),
    ):
        (result,) = engine.send(job(server.port, message=message))
    assert (result.reply.command, result.reply.code) == (command, 0)
    assert not result.reply.permanent
    assert result.in_doubt == in_doubt


@pytest.mark.parametrize("silent", [Act.SILENCE, Act.SILENT_TLS], ids=["reply", "handshake"])
def test_tls_that_does_not_come_about_gives_way_to_clear_text(silent):
    script = Script(ehlo=TLS_EHLO, starttls=silent)
    minute = timedelta(minutes=1)
    with (
        scripted(script) as server,
        running_engine(tls_timeout=SHORT, command_timeout=minute) as engine,
        ends_within(5),
    ):
        (result,) = engine.send(job(server.port))
    assert (result.accepted, result.tls) == (True, "")


def test_a_kept_session_whose_reset_has_no_reply_gives_way_to_a_new_one():
    script = Script(rcpt="550 5.1.1 who?", rset=Act.SILENCE)
    with (
        scripted(lambda n: script if n == 0 else Script()) as server,
        running_engine(PATIENT, command_timeout=timedelta(seconds=3)) as engine,
        ends_within(20),
    ):
        first, second = engine.send(job(server.port), job(server.port))
        assert server.connections[0].lines[-1] == "RSET"
    assert (first.reply.code, second.accepted, second.reused) == (550, True, False)


def test_a_peer_that_does_not_close_after_quit_is_cut_off():
    """Kept open by the test's own server: it reads no further than the dot's reply."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = threading.Event()
        server = threading.Thread(target=_takes_one_and_stays, args=(listener, done))
        server.start()
        with running_engine(quit_timeout=SHORT, messages_per_session=1) as engine:
            (result,) = engine.send(job(port))
            assert result.accepted
            with ends_within(5):
                wait_until(lambda: not engine.engine.open_sessions(), 5, "the session to be cut")
        done.set()
        server.join()


def _takes_one_and_stays(listener: socket.socket, done: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        connection.sendall(b"220 mx\r\n")
        for reply in (b"250 mx\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            lines.readline()
            connection.sendall(reply)
        while lines.readline() != b".\r\n":
            pass
        connection.sendall(b"250 taken\r\n")
        done.wait(20)


# The log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(LogSettings(tmp_path / "log", 1, lock_timeout=SHORT))) as made:
        made.create_topics([TopicSpec(TOPIC)])
        yield made


def test_an_append_behind_a_held_lock_fails_in_time_and_stores_nothing(log, tmp_path):
    with flocked(tmp_path / "log" / TOPIC / "append.lock"), ends_within(5):
        for _ in range(2):
            with pytest.raises(TimeoutError, match="locked by another process"):
                log.append_wait(TOPIC, [Entry(0, b"k", b"lost")])
    assert log.append_wait(TOPIC, [Entry(0, b"k", b"stored")]) == [0]
    assert [record.value for record in log.scan(TP, 0, log.end_offset(TP))] == [b"stored"]


def test_a_commit_behind_a_held_lock_fails_in_time_and_the_next_one_is_kept(log, tmp_path):
    log.commit("g", {TP: Committed(1)})
    with flocked(tmp_path / "log" / "groups.lock"), ends_within(5):
        with pytest.raises(TimeoutError):
            log.commit("g", {TP: Committed(2)})
        assert log.committed("g", TP) == Committed(1)
    log.commit("g", {TP: Committed(3)})
    assert log.committed("g", TP) == Committed(3)


def test_topics_that_another_process_makes_or_compacts_are_waited_for_in_time(log, tmp_path):
    folder = tmp_path / "log"
    with flocked(folder / "create.lock"), ends_within(5), pytest.raises(TimeoutError):
        log.create_topics([TopicSpec("other")])
    log.create_topics([TopicSpec("other", compacted=True)])
    log.compact("other")  # makes its lock
    for name in ("compact.lock", "append.lock"):
        with flocked(folder / "other" / name), ends_within(5), pytest.raises(TimeoutError):
            log.compact("other")
    with flocked(folder / TOPIC / "append.lock"), ends_within(5), pytest.raises(TimeoutError):
        log.delete_before(TP, 1)


def test_requests_behind_a_held_lock_are_told_that_nothing_was_stored(log, tmp_path):
    async def ask() -> list[object]:
        appends = Appends(log, timedelta(seconds=20))
        first = asyncio.create_task(appends.append(TOPIC, [Entry(0, b"k", b"1")]))
        await asyncio.sleep(0.1)  # so that the second waits for the first one's append
        second = appends.append(TOPIC, [Entry(0, b"k", b"2")])
        return list(await asyncio.gather(first, second, return_exceptions=True))

    with flocked(tmp_path / "log" / TOPIC / "append.lock"), ends_within(5):
        answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [TimeoutError, LogAwayError]
    assert log.end_offset(TP) == 0


class _SilentDisk:
    """A log whose disk never answers."""

    def append(self, topic: str, entries: Sequence[Entry], on_durable: object) -> None:
        pass


def test_a_disk_that_does_not_answer_leaves_it_open_whether_the_mail_was_accepted():
    async def ask() -> list[object]:
        appends = Appends(_SilentDisk(), SHORT)  # type: ignore[arg-type] # only `append` is used
        first = asyncio.create_task(appends.append(TOPIC, [Entry(0, b"k", b"1")]))
        await asyncio.sleep(0.1)
        second = appends.append(TOPIC, [Entry(0, b"k", b"2")])
        return list(await asyncio.gather(first, second, return_exceptions=True))

    with ends_within(5):
        answers = asyncio.run(ask())
    # The log never saw the second: that one was not accepted for certain.
    assert [type(answer) for answer in answers] == [NotConfirmedError, TimeoutError]


def test_a_lock_that_comes_too_late_is_given_back(tmp_path):
    lock = FileLock(tmp_path / "lock")
    with flocked(tmp_path / "lock"), pytest.raises(TimeoutError), lock.held(SHORT):
        pass
    other = FileLock(tmp_path / "lock")
    with other.held(timedelta(seconds=5)):
        pass
    with lock.held(timedelta(seconds=5)), pytest.raises(TimeoutError), other.held(SHORT):
        pass
    lock.close()
    other.close()


# The relational store


@pytest.fixture
def store_settings(tmp_path: Path) -> RelationalSettings:
    url = sqlite_url(tmp_path / "sealwax.db")
    return RelationalSettings(url, tmp_path / "master.key", timeout=SHORT)


def test_a_locked_database_is_away_for_whoever_writes(store_settings, tmp_path):
    with closing(open_store(store_settings)) as store, closing(_writer(tmp_path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ends_within(5), pytest.raises(StoreAwayError):
            store.create_key("default", "mine")
        other.execute("ROLLBACK")
        assert store.create_key("default", "mine").key


def _writer(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "sealwax.db", isolation_level=None)


def test_a_start_behind_another_that_hangs_is_one_sentence(store_settings, tmp_path):
    open_store(store_settings).close()
    with (
        flocked(tmp_path / "sealwax.db.lock"),
        ends_within(5),
        pytest.raises(ConfigurationError, match="locked by another process"),
    ):
        open_store(store_settings)
