"""Replies: status, words, and anything at all that a peer may send."""

import asyncio

import pytest
from aiosmtplib import SMTPResponse
from aiosmtplib.errors import SMTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from sealwax.model.reply import Command
from sealwax.smtp.replies import reply_from, reply_of
from sealwax.smtp.wire import Wire


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        ("5.7.1 no", "5.7.1", "no"),
        ("no", "", "no"),
        ("5.7.1 one\n5.7.1 two", "5.7.1", "one two"),
        ("hello\n4.7.28 two", "4.7.28", "hello two"),
        ("5.7.1", "5.7.1", ""),
        ("1.2.3.4 is listed", "", "1.2.3.4 is listed"),
        ("5.7.1.2 is listed", "", "5.7.1.2 is listed"),
        ("a\x00b\x1b[31m\u202b", "", "a\ufffdb\ufffd[31m\u202b"),
        ("x" * 2000, "", "x" * 1000),
    ],
)
def test_status_and_words_come_apart(message, status, text):
    reply = reply_of(Command.RCPT, SMTPResponse(550, message))
    assert (reply.status, reply.text) == (status, text)


@pytest.mark.parametrize(
    ("text", "code", "status", "words"),
    [
        ("550 5.1.1 no", 550, "5.1.1", "no"),
        ("550", 550, "", ""),
        (" 550-5.7.1 one\r\n550 5.7.1 two\r\n", 550, "5.7.1", "one two"),
        ("550-one\n550 two", 550, "", "one two"),
        ("550-5.7.1 one 550-5.7.1 two 550 5.7.1 three", 550, "5.7.1", "one two three"),
        ("554-mail.com (mx) Nemesis 554-No service 554 For more", 554, "", "mail.com (mx) Nemesis No service 554 For more"),
        ("550 try 550 times", 550, "", "try 550 times"),
        ("0 connection refused", 0, "", "connection refused"),
    ],
)  # fmt: skip
def test_a_reply_is_read_from_a_log_as_from_the_wire(text, code, status, words):
    reply = reply_from(Command.RCPT, text)
    assert (reply.code, reply.status, reply.text) == (code, status, words)


@pytest.mark.parametrize("text", ["", "no", "5501 x", "550x", "650 x", "5.1.1 no"])
def test_what_begins_with_no_code_is_no_reply(text):
    with pytest.raises(ValueError, match="three digits"):
        reply_from(Command.RCPT, text)


class _Transport(asyncio.Transport):
    @override
    def is_closing(self):
        return False

    @override
    def abort(self):
        pass


async def _read(chunks):
    """What the protocol makes of bytes that arrive in chunks."""
    lost = []
    wire = Wire(asyncio.get_running_loop())
    wire.when_lost(lambda: lost.append(True))
    wire.connection_made(_Transport())
    for chunk in chunks:
        wire.data_received(chunk)
    try:
        return await wire.read_response(0.001)
    except SMTPException:
        return None


_REPLY_LIKE = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"250", b"550-5.1.1 x\r\n", b"-", b" ", b"\r\n", b"\n", b"5.7.1", b"\xff\x00"]
        ),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(_REPLY_LIKE)
def test_any_bytes_become_a_reply_or_an_end_and_can_be_stored(chunks):
    response = asyncio.run(_read(chunks))
    if response is not None:
        reply = reply_of(Command.RCPT, response)
        assert len(reply.text) <= 1000
        reply.text.encode()  # no surrogates: it is stored as UTF-8
        assert not any(ord(character) < 0x20 for character in reply.text)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_reply_is_whole_however_it_is_cut(size):
    wire_bytes = b"250-mx.test\r\n250-SIZE 10\r\n250 PIPELINING\r\n"
    chunks = [wire_bytes[n : n + size] for n in range(0, len(wire_bytes), size)]
    assert asyncio.run(_read(chunks)) == SMTPResponse(250, "mx.test\nSIZE 10\nPIPELINING")


def test_reply_that_comes_in_pieces_is_waited_for():
    async def slowly():
        wire = Wire(asyncio.get_running_loop())
        wire.connection_made(_Transport())
        reading = asyncio.ensure_future(wire.read_response(5))
        for piece in (b"220-one\r\n", b"220-two\r\n22", b"0 three\r\n"):
            await asyncio.sleep(0)
            wire.data_received(piece)
        return await reading

    assert asyncio.run(slowly()) == SMTPResponse(220, "one\ntwo\nthree")


def test_reply_without_end_is_cut_off():
    assert asyncio.run(_read([b"250-" + b"x" * 100 + b"\r\n"] * 1000)) is None
