"""A mail server that keeps count: who came when, how many at once, on how many connections."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class CountedSink:
    """Takes every message, `pause_s` after its final dot; one event loop in a thread.

    Attributes:
        begun: When each transaction began, on the monotonic clock.
        begun_by: How many of them by EHLO name.
        taken: How often each recipient's message was taken.
        taken_from: How many messages each client gave, by its name in EHLO.
        most_open: The most connections at a time.
        most_at_work: The most transactions at a time.
    """

    def __init__(self, pause_s: float) -> None:
        self.begun: list[float] = []
        self.begun_by: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.taken_from: Counter[str] = Counter()
        self.most_open = 0
        self.most_at_work = 0
        self.port = 0
        self._open = 0
        self._at_work = 0
        self._pause_s = pause_s
        self._listens = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def start(self) -> None:
        self._thread.start()
        assert self._listens.wait(10)

    def stop(self) -> None:
        assert self._stopping
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def forget_the_most(self) -> None:
        """Counts the most anew."""
        self.most_open, self.most_at_work = self._open, self._at_work

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._stopping.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        working = [False]
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                writer.write(b"220 mx.test\r\n")
                await self._talk(reader, writer, working)
        finally:
            self._open -= 1
            self._at_work -= working[0]
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, working: list[bool]
    ) -> None:
        rcpt = client = ""
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"QUIT":
                return
            if verb == b"EHLO":
                client = line[5:].decode().strip()
            if verb == b"MAIL":
                self.begun_by[client] += 1
                self.begun.append(time.monotonic())
                self._at_work += 1
                working[0] = True
                self.most_at_work = max(self.most_at_work, self._at_work)
            if verb == b"RCPT":
                rcpt = line.decode().partition("<")[2].partition(">")[0]
            writer.write(b"354 go\r\n" if verb == b"DATA" else b"250 ok\r\n")
            if verb == b"DATA":
                while await reader.readline() != b".\r\n":
                    if reader.at_eof():
                        return
                await asyncio.sleep(self._pause_s)
                self.taken[rcpt] += 1
                self.taken_from[client] += 1
                self._at_work -= 1
                working[0] = False
                writer.write(b"250 taken\r\n")


@contextmanager
def counted_sink(pause_s: float) -> Iterator[CountedSink]:
    """A sink that runs until the block ends."""
    sink = CountedSink(pause_s)
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()
