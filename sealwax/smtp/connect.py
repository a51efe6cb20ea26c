"""From an address to an open session: TCP, greeting, EHLO, STARTTLS."""

import asyncio
import ssl

from aiosmtplib import SMTPException, SMTPResponse
from aiosmtplib.esmtp import parse_esmtp_extensions

from sealwax.model.reply import Command
from sealwax.smtp.replies import broken, reply_of
from sealwax.smtp.session import Peer, Session, SessionBrokenError, SessionKey
from sealwax.smtp.settings import SmtpSettings
from sealwax.smtp.wire import Wire

_READY = 220
_DONE = 250


class TlsFailedError(SessionBrokenError):
    """STARTTLS was offered and did not work; in clear text the host may be fine."""


def opportunistic_context() -> ssl.SSLContext:
    """TLS that proves nothing about the peer and is better than clear text (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def open_session(
    key: SessionKey,
    ip: str,
    settings: SmtpSettings,
    tls: ssl.SSLContext | None,
) -> Session:
    """Connects and says EHLO, over TLS where `tls` is given and the peer offers it.

    Args:
        key: Whose session it is; its source address is bound to.
        ip: The peer's address.
        settings: Timeouts and our name.
        tls: How to speak TLS, or None for clear text.

    Raises:
        TlsFailedError: STARTTLS failed. The connection is gone.
        SessionBrokenError: The peer refused, or a step had no reply. The connection is gone.
    """
    wire = await _connect(key, ip, settings)
    try:
        banner_s = settings.banner_timeout.total_seconds()
        greeting = await _step(wire, Command.BANNER, b"", banner_s)
        _require(greeting.code == _READY, Command.BANNER, greeting)
        extensions = await _hello(wire, settings)
        if tls is not None and "starttls" in extensions:
            await _start_tls(wire, tls, key.host, settings.tls_timeout.total_seconds())
            extensions = await _hello(wire, settings)  # RFC 3207 4.2: what it said before is void
        return Session(key, _peer(wire, ip, extensions), wire, settings)
    except BaseException:
        wire.abort()
        raise


async def _connect(key: SessionKey, ip: str, settings: SmtpSettings) -> Wire:
    loop = asyncio.get_running_loop()
    timeout_s = settings.connect_timeout.total_seconds()
    source = (key.source_ip, 0) if key.source_ip else None
    try:
        async with asyncio.timeout(timeout_s):
            _, wire = await loop.create_connection(
                lambda: Wire(loop), ip, key.port, local_addr=source
            )
    except OSError as cause:
        raise SessionBrokenError(broken(Command.CONNECT, cause, timeout_s)) from cause
    return wire


async def _hello(wire: Wire, settings: SmtpSettings) -> dict[str, str]:
    """EHLO, or HELO for a peer that does not know it; what the peer can do."""
    timeout_s = settings.command_timeout.total_seconds()
    name = settings.ehlo_name.encode()
    response = await _step(wire, Command.EHLO, b"EHLO " + name + b"\r\n", timeout_s)
    if response.code == _DONE:
        return parse_esmtp_extensions(response.message)[0]
    if reply_of(Command.EHLO, response).permanent:
        response = await _step(wire, Command.EHLO, b"HELO " + name + b"\r\n", timeout_s)
    _require(response.code == _DONE, Command.EHLO, response)
    return {}


async def _start_tls(wire: Wire, context: ssl.SSLContext, host: str, timeout_s: float) -> None:
    try:
        await wire.start_tls(context, host, timeout_s)
    except (SMTPException, OSError, ValueError) as cause:  # ValueError: a name not fit for SNI
        raise TlsFailedError(broken(Command.STARTTLS, cause, timeout_s)) from cause


async def _step(wire: Wire, command: Command, line: bytes, timeout_s: float) -> SMTPResponse:
    try:
        if line:
            wire.send(line)
        return await wire.read_response(timeout_s)
    except (SMTPException, OSError) as cause:
        raise SessionBrokenError(broken(command, cause, timeout_s)) from cause


def _require(fulfilled: bool, command: Command, response: SMTPResponse) -> None:  # noqa: FBT001 - an assertion
    if not fulfilled:
        raise SessionBrokenError(reply_of(command, response))


def _peer(wire: Wire, ip: str, extensions: dict[str, str]) -> Peer:
    transport = wire.transport
    if transport is None:
        lost = broken(Command.EHLO, ConnectionResetError(), 0)
        raise SessionBrokenError(lost)
    tls = transport.get_extra_info("ssl_object")
    return Peer(
        ip=ip,
        source_ip=transport.get_extra_info("sockname")[0],
        tls=(tls.version() or "") if tls else "",
        pipelining="pipelining" in extensions,
        size="size" in extensions,
    )
