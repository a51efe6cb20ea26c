"""From futures that other threads end to an event loop, in groups."""

import asyncio
from collections import deque
from concurrent.futures import Future


class Doorbell:
    """Waits in one event loop for futures of other threads.

    A group commit ends hundreds of futures at once. `asyncio.wrap_future` wakes the loop for each;
    this wakes it once for all that have ended since it last looked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ended: deque[asyncio.Future[None]] = deque()
        self._rung = False

    async def wait(self, future: "Future[None]") -> None:
        """Returns when the future has ended; raises what it failed with."""
        if not future.done():
            waiter: asyncio.Future[None] = self._loop.create_future()
            future.add_done_callback(lambda _: self._ring(waiter))
            await waiter
        future.result()

    def _ring(self, waiter: "asyncio.Future[None]") -> None:
        self._ended.append(waiter)
        # Appended first: whoever finds it rung already is seen by the answer to come.
        if not self._rung:
            self._rung = True
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._rung = False
        while self._ended:
            waiter = self._ended.popleft()
            if not waiter.done():
                waiter.set_result(None)
