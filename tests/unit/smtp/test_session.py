"""Transactions: envelope, content, and every way in which a peer can end one."""

import pytest

from sealwax.model.reply import Command, Reply
from sealwax.smtp.session import stuffed
from tests.support.smtp_engine import MESSAGE, job, running_engine
from tests.support.smtp_server import PLAIN_EHLO, Act, Bye, Script, scripted
from tests.support.waiting import wait_until


@pytest.mark.parametrize("ehlo", [Script.ehlo, PLAIN_EHLO], ids=["pipelining", "in turn"])
def test_message_arrives_with_its_envelope_and_every_byte(ehlo):
    with scripted(Script(ehlo=ehlo)) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert result.accepted
    assert result.reply == Reply(Command.DOT, 250, "2.0.0", "taken")
    assert not result.in_doubt
    assert server.connections[0].lines[:4] == [
        "EHLO client.test",
        f"MAIL FROM:<bounce@sender.test> SIZE={len(MESSAGE)}",
        "RCPT TO:<ada@example.test>",
        "DATA",
    ]
    on_the_wire = b"Subject: hello\r\n\r\nA line.\r\n..leading dot\r\n...two\r\n..\r\nThe end.\r\n"
    assert server.messages == [on_the_wire]


def test_facts_of_the_session_are_in_the_result():
    with scripted(Script(pause_dot_s=0.1)) as server, running_engine() as engine:
        first, second = engine.send(job(server.port), job(server.port))
    assert (first.mx_host, first.mx_ip, first.source_ip) == ("127.0.0.1", "127.0.0.1", "127.0.0.1")
    assert (first.reused, second.reused) == (False, True)
    assert second.connect_ms == 0
    assert 90 <= first.dot_ms <= first.smtp_ms
    assert first.smtp_ms == first.ended_at_ms - first.started_at_ms
    assert first.tls == ""


@pytest.mark.parametrize("ehlo", [Script.ehlo, PLAIN_EHLO], ids=["pipelining", "in turn"])
@pytest.mark.parametrize(
    ("step", "command"),
    [("mail", Command.MAIL), ("rcpt", Command.RCPT), ("data", Command.DATA), ("dot", Command.DOT)],
)
@pytest.mark.parametrize(
    ("text", "code", "status", "words"),
    [
        ("550 5.1.1 no such user", 550, "5.1.1", "no such user"),
        ("451 try later", 451, "", "try later"),
        ("550-5.7.1 first\r\n550 5.7.1 second", 550, "5.7.1", "first second"),
    ],
)
def test_refusal_is_the_result(ehlo, step, command, text, code, status, words):
    with scripted(Script(ehlo=ehlo, **{step: text})) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert result.reply == Reply(command, code, status, words)
    assert not result.accepted
    assert not result.in_doubt


@pytest.mark.parametrize("ehlo", [Script.ehlo, PLAIN_EHLO], ids=["pipelining", "in turn"])
def test_session_goes_on_after_a_refusal(ehlo):
    script = Script(ehlo=ehlo, rcpt="550 5.1.1 no")
    with scripted(script) as server, running_engine() as engine:
        first, second = engine.send(job(server.port), job(server.port))
    assert (first.reply.command, second.reply.command) == (Command.RCPT, Command.RCPT)
    assert second.reused
    assert len(server.connections) == 1
    assert "RSET" in server.connections[0].lines


def test_peer_that_wants_a_message_for_a_refused_recipient_gets_an_empty_one():
    script = Script(rcpt="550 5.1.1 no", data="354 go", dot="554 5.5.1 no valid recipients")
    with scripted(script) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert result.reply.command is Command.RCPT
    assert server.messages == [b""]


def test_peer_that_refused_mail_but_goes_on_gets_nothing():
    with scripted(Script(mail="550 5.7.1 no")) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
    assert result.reply.command is Command.MAIL
    assert server.messages == []


@pytest.mark.parametrize("ehlo", [Script.ehlo, PLAIN_EHLO], ids=["pipelining", "in turn"])
@pytest.mark.parametrize("step", ["banner", "ehlo", "mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(
    "answer", [Act.CLOSE, Act.SILENCE, Bye("421 4.3.2 going down"), "nonsense"]
)
def test_session_that_breaks_says_where_and_is_temporary(ehlo, step, answer):
    script = Script(**{"ehlo": ehlo, step: answer})
    with scripted(script) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port))
        wanted = Bye("421 4.3.2 going down") == answer
        assert result.reply.command == step.upper()
        assert result.reply.code == (421 if wanted else 0)
        assert result.reply.status[0] == "4"
        assert not result.reply.permanent
        assert not result.accepted
        assert result.in_doubt == (step == "dot" and not wanted)
        assert engine.engine.open_sessions() == 0
        assert len(server.connections) == 1


def test_large_message_arrives_with_every_byte():
    message = b"Subject: large\r\n\r\n" + b".dots and words\r\n" * 60_000
    with scripted() as server, running_engine() as engine:
        (result,) = engine.send(job(server.port, message=message))
    assert result.accepted
    assert server.messages == [stuffed(message)]


def test_peer_that_stops_reading_does_not_hold_the_session_and_leaves_no_doubt():
    message = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 8_000_000
    with scripted(Script(read_slowly=True)) as server, running_engine() as engine:
        (result,) = engine.send(job(server.port, message=message))
    assert result.reply.command is Command.DATA
    assert result.reply.status == "4.4.2"
    assert not result.in_doubt


def test_nothing_is_sent_without_permission_and_all_of_it_once_there_is_one():
    with scripted() as server, running_engine() as engine:
        asked: list[str] = []

        def refuse() -> bool:
            asked.append("may I")
            return False

        engine.may_send = refuse
        engine.submit(job(server.port))
        wait_until(lambda: len(asked) >= 3, 10, "the engine to ask again")
        assert engine.results == []
        assert server.connections == []
        engine.may_send = lambda: True
        (result,) = engine.wait_for(1)
    assert result.accepted
    assert len(server.messages) == 1


def test_a_drain_drops_what_waits_for_permission():
    with scripted() as server, running_engine() as engine:
        engine.may_send = lambda: False
        engine.submit(job(server.port))
        engine.engine.drain()
        engine.settled()
    assert engine.results == []
    assert server.connections == []


def test_a_message_that_loses_permission_before_the_dot_begins_anew_when_it_is_back():
    with scripted() as server, running_engine() as engine:
        answers = iter([True, True, False, False])
        engine.may_send = lambda: next(answers, True)
        engine.submit(job(server.port))
        (result,) = engine.wait_for(1)
        engine.settled()
    assert result.accepted
    assert len(server.messages) == 1
    assert len(server.connections) == 2


@pytest.mark.parametrize("ehlo", [Script.ehlo, PLAIN_EHLO], ids=["pipelining", "in turn"])
def test_a_message_that_loses_permission_while_it_connects_is_not_begun(ehlo):
    with scripted(Script(ehlo=ehlo)) as server, running_engine() as engine:
        answers = iter([True, False, False])
        engine.may_send = lambda: next(answers, True)
        engine.submit(job(server.port))
        (result,) = engine.wait_for(1)
        engine.settled()
    assert result.accepted
    assert len(server.messages) == 1
    first, _ = server.connections
    assert [line.partition(" ")[0] for line in first.lines] == ["EHLO"]


def test_a_kept_session_begins_nothing_without_permission():
    with scripted() as server, running_engine() as engine:
        engine.send(job(server.port))
        answers = iter([True, False])
        engine.may_send = lambda: next(answers, True)
        (result,) = engine.send(job(server.port))
    assert result.accepted
    first, second = server.connections
    commands = [line.partition(" ")[0] for line in first.lines + second.lines]
    assert commands.count("MAIL") == 2
    assert len(server.messages) == 2


@pytest.mark.parametrize(
    "address", ["a b@x.test", "a>@x.test", "a@x.test> SIZE=1", "a\r\nRSET@x.test", 'q"@x.test']
)
@pytest.mark.parametrize("field", ["reverse_path", "rcpt"])
def test_address_that_would_leave_its_brackets_never_reaches_the_peer(field, address):
    with scripted() as server, running_engine() as engine:
        (result,) = engine.send(job(server.port, **{field: address}))
    assert result.reply.permanent
    assert result.reply.status == "5.1.3"
    assert server.messages == []


def test_quoted_local_part_and_null_reverse_path_are_sent_as_they_are():
    with scripted() as server, running_engine() as engine:
        (result,) = engine.send(job(server.port, reverse_path="", rcpt='"a b"@example.test'))
    assert result.accepted
    assert server.connections[0].lines[1].startswith("MAIL FROM:<> ")
    assert server.connections[0].lines[2] == 'RCPT TO:<"a b"@example.test>'


def test_address_beyond_ascii_is_refused_for_good():
    with scripted() as server, running_engine() as engine:
        (result,) = engine.send(job(server.port, rcpt="jörg@example.test"))
    assert (result.reply.code, result.reply.status) == (553, "5.6.7")
