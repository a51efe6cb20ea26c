"""One SMTP session: mail transactions on an open connection, RFC 5321 section 3.3."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from aiosmtplib import SMTPException, SMTPResponse

from sealwax import clock
from sealwax.errors import SealwaxError
from sealwax.model.reply import Command, Reply
from sealwax.smtp.job import Job
from sealwax.smtp.replies import broken, reply_of
from sealwax.smtp.settings import SmtpSettings
from sealwax.smtp.wire import Wire

# A message is written in blocks of this size, each with its timeout (RFC 5321 4.5.3.2.5).
_BLOCK_BYTES = 65_536
_GO_AHEAD = 354
_CLOSING = 421  # RFC 5321 3.8: the peer is closing the channel
# A mailbox that cannot leave its angle brackets; only a quoted local part may hold blanks.
_MAILBOX = re.compile(r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"@)?[^\x00-\x20\x7f<>"]*')


class SessionKey(NamedTuple):
    """What a session is for: all sessions of a site from one address are interchangeable."""

    site: str
    source_ip: str
    host: str
    port: int


class SessionBrokenError(SealwaxError):
    """A session ended before its time.

    Attributes:
        reply: What stands for the reply that was due, or a refusal to talk at all.
        in_doubt: Whether the final dot had been written.
    """

    def __init__(self, reply: Reply, *, in_doubt: bool = False) -> None:
        super().__init__(reply, in_doubt)
        self.reply = reply
        self.in_doubt = in_doubt


class StaleSessionError(SealwaxError):
    """A kept session was closed by its peer before it answered MAIL; nothing was attempted."""


class NotAllowedError(SealwaxError):
    """The caller may no longer send; the message was not begun, or not ended."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, and what it can do.

    Attributes:
        ip: Its address.
        source_ip: Ours.
        tls: Version of TLS, or empty.
        pipelining: RFC 2920.
        size: RFC 1870.
    """

    ip: str
    source_ip: str
    tls: str
    pipelining: bool
    size: bool


class Session:
    """An open session; one transaction at a time.

    Attributes:
        key: What it may be reused for.
        peer: Who is at the other end.
        messages: Transactions begun on it.
        most_messages: How many there may be.
        dot_ms: From the final dot to its reply, of the last transaction; 0 where there was none.
    """

    def __init__(self, key: SessionKey, peer: Peer, wire: Wire, settings: SmtpSettings) -> None:
        self.key = key
        self.peer = peer
        self.messages = 0
        self.most_messages = settings.messages_per_session
        self.dot_ms = 0
        self._wire = wire
        self._settings = settings
        self._unfinished = False  # a transaction that only RSET ends
        self._finished = False

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin."""
        full = self.messages >= self.most_messages
        return not (self._finished or full) and self._wire.is_connected

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Has `callback` called once, when the connection is gone; at once if it is."""
        self._wire.when_lost(callback)

    def quit(self) -> None:
        """Ends it in good manners, without waiting."""
        self._finished = True
        self._wire.quit(self._settings.quit_timeout.total_seconds())

    def abort(self) -> None:
        """Ends it at once."""
        self._finished = True
        self._wire.abort()

    async def transact(
        self, job: Job, may_begin: Callable[[], bool], may_end: Callable[[], bool]
    ) -> Reply:
        """One mail transaction.

        Args:
            job: Envelope and message.
            may_begin: Asked right before MAIL is written: names, a connection and TLS took time.
            may_end: Asked right before the final dot is written. The message is in doubt from
                then on.

        Returns:
            The reply that ended the transaction: the refusal, or the reply to the dot.

        Raises:
            SessionBrokenError: There was none.
            StaleSessionError: The peer had closed this session; try another.
            NotAllowedError: `may_begin` or `may_end` said no.
        """
        self.dot_ms = 0
        path = _unsendable(job)
        if path is not None:
            return path
        try:
            refusal = await self._envelope(job, may_begin)
            return refusal if refusal is not None else await self._content(job.message, may_end)
        except BaseException:
            self.abort()
            raise
        finally:
            self.messages += 1

    async def _envelope(self, job: Job, may_begin: Callable[[], bool]) -> Reply | None:
        """MAIL, RCPT and DATA; None where the peer waits for the message."""
        command_s = self._settings.command_timeout.total_seconds()
        data_s = self._settings.data_timeout.total_seconds()
        size = f" SIZE={len(job.message)}" if self.peer.size else ""
        steps = [
            (Command.MAIL, f"MAIL FROM:<{job.reverse_path}>{size}\r\n".encode(), command_s),
            (Command.RCPT, f"RCPT TO:<{job.rcpt}>\r\n".encode(), command_s),
            (Command.DATA, b"DATA\r\n", data_s),
        ]
        kept = self.messages > 0
        try:
            if self._unfinished:
                await self._ask(Command.MAIL, b"RSET\r\n", command_s)
            if not may_begin():
                raise NotAllowedError
            self._unfinished = True
            refusal = await (
                self._in_one_write(steps) if self.peer.pipelining else self._in_turn(steps)
            )
        except SessionBrokenError as error:
            if kept and error.reply.command is Command.MAIL:
                raise StaleSessionError from error
            raise
        if refusal is not None and refusal.code == _CLOSING:
            self._finished = True
            if kept and refusal.command is Command.MAIL:
                self.abort()
                raise StaleSessionError
        return refusal

    async def _in_turn(self, steps: list[tuple[Command, bytes, float]]) -> Reply | None:
        for command, line, timeout_s in steps:
            response = await self._ask(command, line, timeout_s)
            if not _goes_on(command, response.code):
                return reply_of(command, response)
        return None

    async def _in_one_write(self, steps: list[tuple[Command, bytes, float]]) -> Reply | None:
        """All three at once; every reply is read, the first refusal counts (RFC 2920 3.1)."""
        refusal: Reply | None = None
        response: SMTPResponse | None = None
        try:
            lines = b"".join([line for _, line, _ in steps])
            for command, _, timeout_s in steps:
                response = await self._ask(command, lines, timeout_s, replies=len(steps))
                lines = b""
                if refusal is None and not _goes_on(command, response.code):
                    refusal = reply_of(command, response)
            if refusal is not None and response is not None and response.code == _GO_AHEAD:
                await self._message_for_nobody(refusal)
        except SessionBrokenError:
            if refusal is None:
                raise
            self.abort()  # the refusal stands; what the peer did after it does not matter
        return refusal

    async def _message_for_nobody(self, refusal: Reply) -> None:
        """Answers a 354 that followed a refusal; RFC 2920 3.1 asks for an empty message.

        Only where RCPT was refused: a peer that refused MAIL alone might deliver it.
        """
        if refusal.command is Command.RCPT:
            await self._ask(Command.DATA, b".\r\n", self._settings.dot_timeout.total_seconds())
        else:
            self.abort()

    async def _ask(
        self, command: Command, line: bytes, timeout_s: float, replies: int = 1
    ) -> SMTPResponse:
        """Writes, unless `line` is empty, and reads one reply."""
        try:
            if line:
                self._wire.send(line, replies)
            return await self._wire.read_response(timeout_s)
        except (SMTPException, OSError) as cause:
            raise SessionBrokenError(broken(command, cause, timeout_s)) from cause

    async def _content(self, message: bytes, may_end: Callable[[], bool]) -> Reply:
        """The message and the final dot."""
        content = stuffed(message)
        if len(content) > _BLOCK_BYTES:
            early = await self._blocks(content)
            if early is not None:
                return early
            content = b""
        if not may_end():
            raise NotAllowedError
        dot_s = self._settings.dot_timeout.total_seconds()
        dot_at = clock.monotonic()
        try:
            response = await self._ask(Command.DOT, content + b".\r\n", dot_s)
        except SessionBrokenError as error:
            raise SessionBrokenError(error.reply, in_doubt=True) from error
        finally:
            self.dot_ms = round((clock.monotonic() - dot_at) * 1000)
        self._unfinished = False
        if response.code == _CLOSING:
            self._finished = True
        return reply_of(Command.DOT, response)

    async def _blocks(self, content: bytes) -> Reply | None:
        """All but the dot; a reply only where the peer did not wait for the end."""
        block_s = self._settings.block_timeout.total_seconds()
        try:
            for start in range(0, len(content), _BLOCK_BYTES):
                if self._wire.answered:
                    self._finished = True  # the message cannot be taken back
                    return reply_of(Command.DATA, await self._wire.read_response(block_s))
                self._wire.send(content[start : start + _BLOCK_BYTES], replies=0)
                await self._wire.flushed(block_s)
        except (SMTPException, OSError) as cause:
            raise SessionBrokenError(broken(Command.DATA, cause, block_s)) from cause
        return None


def stuffed(message: bytes) -> bytes:
    """The message with its leading dots doubled, ended by CRLF (RFC 5321 4.5.2)."""
    content = message.replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _goes_on(command: Command, code: int) -> bool:
    if command is Command.DATA:
        return code == _GO_AHEAD
    return 200 <= code < 300  # noqa: PLR2004 - RFC 5321 4.2.1, completion


def _unsendable(job: Job) -> Reply | None:
    """A refusal of our own where an address cannot stand in a command line."""
    for command, path in ((Command.MAIL, job.reverse_path), (Command.RCPT, job.rcpt)):
        if not path.isascii():
            return Reply(command, 553, "5.6.7", "the address needs SMTPUTF8, which is not spoken")
        if not _MAILBOX.fullmatch(path):
            return Reply(command, 553, "5.1.3", "the address cannot stand in a command line")
    return None
