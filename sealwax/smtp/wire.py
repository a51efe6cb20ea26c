"""aiosmtplib's protocol, with several replies outstanding (PIPELINING, RFC 2920)."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from aiosmtplib import SMTPReadTimeoutError, SMTPResponse, SMTPResponseException
from aiosmtplib.errors import SMTPServerDisconnected
from aiosmtplib.protocol import MAX_RESPONSE_LENGTH, SMTPProtocol
from typing_extensions import override

# Stands for the code of a reply that cannot be read; only its text is used.
_NO_CODE = -1


class Wire(SMTPProtocol):
    """One connection: lines out, replies in, in order.

    aiosmtplib reads one reply per command written and drops what comes beyond it. Here as many are
    read as were asked for; anything that the peer says unasked (a 421 on an idle session, words
    smuggled in before TLS, RFC 3207 section 6) ends the connection.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._on_lost: Callable[[], None] | None = None
        self._lost = False
        self._replies: deque[SMTPResponse] = deque()
        self._expected = 1  # the greeting
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Exception | None = None

    @property
    def answered(self) -> bool:
        """Whether a reply is there to be read."""
        return bool(self._replies)

    def send(self, data: bytes, replies: int = 1) -> None:
        """Writes, and expects so many replies to it.

        Raises:
            SMTPServerDisconnected: The connection is gone.
        """
        self._expected += replies
        self.write(data)

    async def flushed(self, timeout_s: float) -> None:
        """Waits until the transport takes more.

        Raises:
            TimeoutError: It did not within `timeout_s`.
            ConnectionError: The connection was lost.
        """
        async with asyncio.timeout(timeout_s):
            await self._drain_helper()

    @override
    async def read_response(self, timeout: float | None = None) -> SMTPResponse:
        """The next reply.

        Raises:
            SMTPReadTimeoutError: None came within `timeout` seconds.
            SMTPServerDisconnected: None can come any more.
            SMTPResponseException: What came is no reply.
        """
        if not self._replies:
            if self._fault is None and not self._connection_lost:
                await self._wait(timeout)
            if not self._replies:
                raise self._fault or (
                    SMTPServerDisconnected("connection lost")
                    if self._connection_lost
                    else SMTPReadTimeoutError("no reply in time")
                )
        return self._replies.popleft()

    async def _wait(self, timeout_s: float | None) -> None:
        # A timer and a future of our own: asyncio.wait_for costs five times as much per reply.
        waiter = self._waiter = self._loop.create_future()
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @override
    def data_received(self, data: bytes) -> None:
        if self._fault is not None or self._quit_sent:
            return
        self._buffer.extend(data)
        try:
            while self._buffer and self._expected:
                response = self._read_response_from_buffer()
                if response is None:
                    break
                self._expected -= 1
                self._replies.append(response)
        except SMTPResponseException as unreadable:
            self._end(unreadable)
        if self._buffer and not self._expected:
            self._end(SMTPResponseException(_NO_CODE, "a reply that nothing asked for"))
        elif len(self._buffer) > MAX_RESPONSE_LENGTH:
            self._end(SMTPResponseException(_NO_CODE, "a reply without end"))
        if self._replies or self._fault:
            self._wake()

    def _end(self, fault: SMTPResponseException) -> None:
        self._fault = self._fault or fault
        self.abort()

    @override
    async def start_tls(
        self,
        tls_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> SMTPResponse:
        """STARTTLS and the handshake; what aiosmtplib, a socket or the TLS library raises."""
        self._expected += 1
        return await super().start_tls(tls_context, server_hostname, timeout)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wake()
        self._report_lost()

    def quit(self, timeout_s: float) -> None:
        """Says QUIT and leaves the closing to the peer, RFC 5321 4.1.1.10; waits for nothing.

        A peer that does not close is cut off after `timeout_s`.
        """
        if not self.is_connected or self._quit_sent:
            return
        self._quit_sent = True
        self.write(b"QUIT\r\n")
        self._loop.call_later(timeout_s, self.abort)

    def abort(self) -> None:
        """Cuts the connection; what was not sent is not sent."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()
        self._report_lost()  # a failed handshake ends without `connection_lost`

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Has `callback` called once, when the connection is gone; at once if it is."""
        self._on_lost = callback
        if self._lost:
            self._report_lost()

    def _report_lost(self) -> None:
        self._lost = True
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()
