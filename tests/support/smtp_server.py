"""An SMTP server that does at each step what the test says, well-behaved or not."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

import trustme


class Act(Enum):
    """What is done instead of a reply."""

    CLOSE = auto()
    SILENCE = auto()
    GARBAGE_TLS = auto()  # only for STARTTLS: 220, then bytes that are no handshake
    SILENT_TLS = auto()  # only for STARTTLS: 220, then no handshake


@dataclass(frozen=True)
class Bye:
    """A reply, then the connection is closed."""

    text: str


Answer = str | Act | Bye
Step = Answer | tuple[Answer, ...]  # a tuple: one after the other, the last one again and again


@dataclass(frozen=True)
class Script:
    """What one connection is answered; the default takes every message."""

    banner: Answer = "220 mx.test ESMTP"
    ehlo: Answer = "250-mx.test\r\n250-SIZE 1000000\r\n250 PIPELINING"
    helo: Answer = "250 mx.test"
    starttls: Answer = "220 go"
    mail: Step = "250 2.1.0 ok"
    rcpt: Step = "250 2.1.5 ok"
    data: Step = "354 go"
    dot: Answer = "250 2.0.0 taken"
    rset: Step = "250 2.0.0 ok"
    pause_dot_s: float = 0
    read_slowly: bool = False


PLAIN_EHLO = "250-mx.test\r\n250 SIZE 1000000"
TLS_EHLO = "250-mx.test\r\n250-STARTTLS\r\n250 PIPELINING"


@dataclass
class Connection:
    """What one connection saw."""

    peer: str
    lines: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    tls: bool = False
    closed: bool = False
    writer: asyncio.StreamWriter | None = None


class ScriptedServer:
    """Listens on loopback; connection n is answered by script(n)."""

    def __init__(self, script: Callable[[int], Script]) -> None:
        self.connections: list[Connection] = []
        self.port = 0
        self._script = script
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main()))

    @property
    def messages(self) -> list[bytes]:
        return [message for connection in self.connections for message in connection.messages]

    def drop(self, index: int, last_words: str = "") -> None:
        """Closes a connection from the server's side."""

        def close() -> None:
            writer = self.connections[index].writer
            assert writer is not None
            if last_words:
                writer.write(f"{last_words}\r\n".encode())
            writer.close()

        self._loop.call_soon_threadsafe(close)

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 16)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._script(len(self.connections))
        connection = Connection(writer.get_extra_info("peername")[0], writer=writer)
        self.connections.append(connection)
        try:
            if await self._do(script.banner, writer):
                await self._dialogue(script, connection, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            connection.closed = True
            writer.close()

    async def _dialogue(self, script, connection, reader, writer) -> None:
        while line := await reader.readline():
            text = line.decode("latin-1").rstrip("\r\n")
            connection.lines.append(text)
            verb = text.partition(" ")[0].lower()
            if verb == "quit":
                writer.write(b"221 bye\r\n")
                return
            if verb == "starttls":
                if not await self._start_tls(script, connection, writer):
                    return
                continue
            step = getattr(script, verb, "502 5.5.1 what?")
            if isinstance(step, tuple):
                asked = sum(one.partition(" ")[0].lower() == verb for one in connection.lines)
                step = step[min(asked, len(step)) - 1]
            if not await self._do(step, writer):
                return
            if verb == "data" and isinstance(step, str) and step.startswith("354"):
                if script.read_slowly:
                    await asyncio.Event().wait()
                connection.messages.append(await _content(reader))
                await asyncio.sleep(script.pause_dot_s)
                if not await self._do(script.dot, writer):
                    return

    async def _start_tls(self, script, connection, writer) -> bool:
        if script.starttls in (Act.GARBAGE_TLS, Act.SILENT_TLS):
            writer.write(b"220 go\r\n")
            await writer.drain()
            if script.starttls is Act.SILENT_TLS:
                await asyncio.Event().wait()
            writer.write(b"this is no handshake\r\n" * 10)
            return False
        if not await self._do(script.starttls, writer) or not script.starttls.startswith("220"):
            return isinstance(script.starttls, str)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("mx.test").configure_cert(context)
        await writer.start_tls(context)
        connection.tls = True
        return True

    async def _do(self, step: Answer, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        match step:
            case str():
                for line in step.split("\r\n"):  # one packet a line, as some servers do
                    writer.write(f"{line}\r\n".encode("latin-1"))
                    await asyncio.sleep(0)
                await writer.drain()
                return True
            case Bye(text):
                writer.write(f"{text}\r\n".encode("latin-1"))
                return False
            case Act.SILENCE:
                await asyncio.Event().wait()
            case Act.CLOSE | Act.GARBAGE_TLS | Act.SILENT_TLS:
                pass
        return False

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


async def _content(reader: asyncio.StreamReader) -> bytes:
    """The message as it came over the wire, stuffed, without the final dot's line."""
    lines = []
    while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
        lines.append(line)
    return b"".join(lines)


@contextmanager
def scripted(script: Script | Callable[[int], Script] | None = None) -> Iterator[ScriptedServer]:
    """A running server; one script for all connections, or one for each by its number."""
    one = script or Script()
    server = ScriptedServer(one if callable(one) else lambda _: one)
    server.start()
    try:
        yield server
    finally:
        server.stop()
