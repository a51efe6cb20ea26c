"""Where the processes of a Bytewax cluster wait for each other, before Bytewax does.

Bytewax waits deaf to signals, and does not see that a process died which it was connected to: three
processes, one killed while they started, ended each other for ever. So the first process keeps a
lobby at its address, and they go on together when all are there: once before they take partitions,
which an incomplete cluster would only keep from others, and once more before Bytewax begins.
"""

import socket
import threading
from contextlib import suppress
from typing import NamedTuple

import structlog

from connectors.log.peers import Place
from sealwax import clock
from sealwax.errors import ConfigurationError

_LOOK_S = 0.2
_SAY_AFTER_S = 1.0
# A visitor whose host is gone without a word comes again after this time.
_PATIENCE_S = 5.0
_HELLO_WITHIN_S = 1.0
_HELLO = b"sealwax %d %d\n"  # stage, process
_GO = b"go"

logger = structlog.get_logger(__name__)


class _Guest(NamedTuple):
    """A process that waits in the lobby."""

    stage: int
    process: int
    connection: socket.socket

    def waits(self) -> bool:
        """Whether it still does."""
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def let_go(self) -> None:
        """Lets it through, where it is still there."""
        with suppress(OSError):
            self.connection.sendall(_GO)


def meet(here: Place, stage: int) -> None:
    """Waits until all processes of the cluster are there.

    Args:
        here: This process's place.
        stage: 1 before they own partitions, 2 after. One that starts again while others wait in
            stage 2 is let through stage 1, and they wait on.

    Raises:
        ConfigurationError: The first process cannot listen at its address.
    """
    if here.processes == 1:
        return
    host, _, port = here.addresses[0].rpartition(":")
    address = host.strip("[]"), int(port)
    if here.index:
        _visit(address, _HELLO % (stage, here.index))
        return
    try:
        lobby = socket.create_server(
            address, family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {host}:{port} (-a): {error}") from error
    with lobby:
        there = _gathered(lobby, here.processes, stage)
    # They come to this address next, so the lobby is closed before they go.
    for guest in there:
        if guest.stage == stage:
            guest.let_go()
        guest.connection.close()


def _gathered(lobby: socket.socket, processes: int, stage: int) -> list[_Guest]:
    """All others, as soon as they are there at one time, in this stage or in a later one."""
    there: dict[int, _Guest] = {}
    say = _Saying()
    lobby.settimeout(_LOOK_S)
    while sum(guest.stage >= stage for guest in there.values()) < processes - 1:
        say.waiting()
        with suppress(OSError):
            connection, _ = lobby.accept()
            guest = _guest(connection)
            if guest is None or not 0 < guest.process < processes:
                connection.close()
                continue
            if guest.stage < stage:
                guest.let_go()
            if guest.process in there:
                there.pop(guest.process).connection.close()
            there[guest.process] = guest
        for gone in [guest for guest in there.values() if not guest.waits()]:
            there.pop(gone.process).connection.close()
    return list(there.values())


def _guest(connection: socket.socket) -> _Guest | None:
    connection.settimeout(_HELLO_WITHIN_S)
    try:
        _, stage, process = connection.recv(64).split()
        connection.setblocking(False)
        return _Guest(int(stage), int(process), connection)
    except (OSError, ValueError):
        return None


def _visit(address: tuple[str, int], hello: bytes) -> None:
    say, pause = _Saying(), threading.Event()
    while True:
        with (
            suppress(OSError),
            socket.create_connection(address, timeout=_PATIENCE_S) as connection,
        ):
            connection.sendall(hello)
            if connection.recv(len(_GO)) == _GO:
                return
        say.waiting()
        pause.wait(_LOOK_S)


class _Saying:
    def __init__(self) -> None:
        self._from = clock.monotonic() + _SAY_AFTER_S

    def waiting(self) -> None:
        """Says so, once, where it takes long."""
        if clock.monotonic() > self._from:
            self._from = float("inf")
            logger.info("waiting for the other processes of the cluster")
