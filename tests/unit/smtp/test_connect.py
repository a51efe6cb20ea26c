"""From an address to a session: greeting, EHLO, STARTTLS."""

import socket
from datetime import timedelta

import pytest

from sealwax.model.reply import Command
from tests.support.smtp_engine import job, running_engine
from tests.support.smtp_server import TLS_EHLO, Act, Bye, Script, scripted


def test_self_signed_tls_is_spoken():
    with scripted(Script(ehlo=TLS_EHLO)) as server, running_engine() as engine:
        first, second = engine.send(job(server.port), job(server.port))
    assert first.accepted
    assert first.tls == "TLSv1.3"
    assert (second.tls, second.reused) == ("TLSv1.3", True)
    assert [connection.tls for connection in server.connections] == [True]
    ehlos = [line for line in server.connections[0].lines if line.startswith("EHLO")]
    assert len(ehlos) == 2


@pytest.mark.parametrize(
    "starttls",
    [
        Act.GARBAGE_TLS,
        Act.CLOSE,
        Act.SILENCE,
        "454 4.7.0 not now",
        Bye("220 go"),
        "220 go\r\n250 smuggled",
    ],
)
def test_broken_tls_falls_back_to_clear_text_and_is_remembered(starttls):
    script = Script(ehlo=TLS_EHLO, starttls=starttls)
    with scripted(script) as server, running_engine(messages_per_session=1) as engine:
        first, second = engine.send(job(server.port), job(server.port))
    assert first.accepted
    assert second.accepted
    assert (first.tls, second.tls) == ("", "")
    tries = [any(line == "STARTTLS" for line in c.lines) for c in server.connections]
    assert tries == [True, False, False]


def test_broken_tls_is_forgotten_after_a_while():
    def script(number):
        return Script(ehlo=TLS_EHLO, starttls=Act.CLOSE if number == 0 else "220 go")

    with (
        scripted(script) as server,
        running_engine(
            messages_per_session=1, broken_tls_memory=timedelta(milliseconds=1)
        ) as engine,
    ):
        first, second = engine.send(job(server.port), job(server.port))
    assert (first.tls, second.tls) == ("", "TLSv1.3")


def test_peer_without_ehlo_gets_helo():
    with scripted(Script(ehlo="502 5.5.1 what?")) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert result.accepted
    assert server.connections[0].lines[:3] == [
        "EHLO client.test",
        "HELO client.test",
        "MAIL FROM:<bounce@sender.test>",
    ]


@pytest.mark.parametrize("banner", ["554 5.7.1 not you", Bye("554-5.7.1 not\r\n554 5.7.1 you")])
def test_peer_that_does_not_talk_to_us_is_the_result(banner):
    with scripted(Script(banner=banner)) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert (result.reply.command, result.reply.code) == (Command.BANNER, 554)
    assert (result.reply.status, result.reply.text) == ("5.7.1", "not you")
    assert result.mx_ip == "127.0.0.1"


def test_dead_port_is_a_refused_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running_engine() as engine:
        (result,) = engine.send(job(port))
    assert (result.reply.command, result.reply.code) == (Command.CONNECT, 0)
    assert (result.reply.status, result.reply.text) == ("4.4.1", "connection refused")
    assert not result.in_doubt


def test_host_that_does_not_answer_is_given_up_in_time():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        full = [socket.socket() for _ in range(4)]
        for client in full:  # fills the backlog: further SYNs are not answered
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        with running_engine(connect_timeout=timedelta(seconds=0.3)) as engine:
            (result,) = engine.send(job(listener.getsockname()[1]))
        for client in full:
            client.close()
    assert (result.reply.status, result.reply.text) == ("4.4.1", "no answer within 0.3 s")


def test_session_is_bound_to_its_source_address():
    with scripted() as server, running_engine() as engine:
        one, other = engine.send(
            job(server.port, source_ip="127.0.0.5"), job(server.port, source_ip="127.0.0.6")
        )
    assert [connection.peer for connection in server.connections] == ["127.0.0.5", "127.0.0.6"]
    assert (one.source_ip, other.source_ip) == ("127.0.0.5", "127.0.0.6")
    assert not other.reused


def test_source_address_that_is_not_ours_is_a_temporary_failure():
    with scripted() as server, running_engine() as engine:
        (result,) = engine.send(job(server.port, source_ip="192.0.2.1"))
    assert result.reply.command is Command.CONNECT
    assert result.reply.status == "4.4.1"
    assert "address" in result.reply.text.lower()


def test_host_of_a_route_is_resolved_by_the_machine():
    from sealwax.smtp.route import Route

    with scripted() as server, running_engine() as engine:
        good, bad = engine.send(
            job(None, route=Route("localhost", server.port)),
            job(None, route=Route("no-such-host.invalid", server.port)),
        )
    assert good.accepted
    assert (good.mx_host, good.mx_ip) == ("localhost", "127.0.0.1")
    assert (bad.reply.command, bad.reply.status) == (Command.ROUTE, "4.4.3")
