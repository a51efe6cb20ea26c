"""A TCP proxy that can stall and drop what passes through it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards connections on one port of the loopback to another one."""

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._open = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stall(self) -> None:
        """Nothing passes from now on, and no connection breaks."""
        self._call(self._open.clear)

    def go_on(self) -> None:
        self._call(self._open.set)

    def drop(self) -> None:
        """Breaks every connection that there is."""
        self._call(self._drop)

    def _drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _call(self, function) -> None:
        """Returns when it is done."""

        async def call() -> None:
            function()

        assert self._loop
        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def run(self, started: threading.Event, ended: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._open.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        started.set()
        while not ended.is_set():  # noqa: ASYNC110 - an event of threads
            await asyncio.sleep(0.05)
        server.close()
        self._drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there[1]}
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))
        self._writers -= {writer, there[1]}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def running_proxy(port: int, target: int) -> Iterator[Proxy]:
    """A proxy in a thread of its own."""
    proxy, started, ended = Proxy(port, target), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.run(started, ended)))
    thread.start()
    try:
        assert started.wait(10)
        yield proxy
    finally:
        ended.set()
        thread.join(20)
