"""Granian in this process: a killed master would leave its workers behind, and hold the port."""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar.types import ASGIApp

from sealwax.config import Address
from sealwax.errors import ConfigurationError

_BACKLOG: Final = 1024
_MOST_CONNECTIONS: Final = 8_192
_OWN_FILES: Final = 512  # the log's segments, databases, sockets
_LOOK_EVERY_S: Final = 0.02
_REASONS: Final = {
    errno.EADDRINUSE: "is in use by another program: stop that, or set SEALWAX_HTTP",
    errno.EADDRNOTAVAIL: "is not an address of this machine: set SEALWAX_HTTP",
    errno.EACCES: "may not be used by this user: set SEALWAX_HTTP to a port above 1023",
}


async def serve(
    app: ASGIApp,
    address: Address,
    header_timeout: timedelta,
    stop: asyncio.Event,
    on_listening: Callable[[], None],
) -> None:
    """Serves until `stop` is set; then open requests are finished, new ones get no connection.

    A connection whose next request's header is not there within `header_timeout` is closed.

    Raises:
        ConfigurationError: The address cannot be listened on.
        RuntimeError: The server ended by itself.
    """
    check_free(address)
    server = Server(
        app,
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        http1_settings=HTTP1Settings(
            header_read_timeout=header_timeout // timedelta(milliseconds=1)
        ),
        backpressure=_connections(),
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    listening = asyncio.create_task(_announce(address, on_listening))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await serving  # raises why, where it knows
            raise RuntimeError("the HTTP server ended by itself")
        server.stop()  # type: ignore[no-untyped-call]  # Granian has no types here
        await serving
    finally:
        listening.cancel()
        stopping.cancel()


def check_free(address: Address) -> None:
    """Raises ConfigurationError where the address cannot be listened on.

    Granian shares its port (SO_REUSEPORT), so a second API would start without an error.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, target = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"cannot be used: {error}; set SEALWAX_HTTP")
        raise ConfigurationError(f"the API's address {address} {reason}") from error


def _connections() -> int:
    """How many connections may be open at a time, with as many files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _OWN_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(64, min(_MOST_CONNECTIONS, soft - _OWN_FILES))


async def _announce(address: Address, on_listening: Callable[[], None]) -> None:
    """Calls `on_listening` once the server answers."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104 - read, never bound to
        address.host, address.host
    )
    while True:
        try:
            reader, writer = await asyncio.open_connection(reachable, address.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            if b" 200 " in status:
                on_listening()
                return
        except OSError:
            pass
        await asyncio.sleep(_LOOK_EVERY_S)
