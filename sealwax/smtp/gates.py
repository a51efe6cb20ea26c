"""How many connections each site may have: as many as permits came with its jobs."""

import asyncio
from collections import deque
from collections.abc import Callable

from sealwax.smtp.session import Session


class _Gate:
    __slots__ = ("jobs", "open", "permits", "waiting")

    def __init__(self) -> None:
        self.permits = 0
        self.jobs = 0
        self.open = 0
        self.waiting: deque[asyncio.Future[Session | None]] = deque()


class Gates:
    """Counts the connections of sites against their permits. One event loop.

    A permit comes with a job that may need a new connection, and stays as long as there is a job or
    a connection for it; a kept session goes on holding one. Then whoever gave it is told, once. It
    may have counted on it for one more job meanwhile: a job that comes without a permit brings back
    the one that it was promised.
    """

    def __init__(self, on_free: Callable[[str, int], None]) -> None:
        """Takes who is told that so many permits of a site are not needed any more."""
        self._on_free = on_free
        self._gates: dict[str, _Gate] = {}

    def begin(self, site: str, permits: int) -> None:
        """A job has come with so many permits."""
        gate = self._gates.get(site)
        if gate is None:
            gate = self._gates[site] = _Gate()
        gate.jobs += 1
        gate.permits = max(gate.permits + permits, gate.jobs)

    def end(self, site: str) -> None:
        """A job is over; its session, if it is kept, was put into the pool before."""
        gate = self._gates[site]
        gate.jobs -= 1
        self._settle(site, gate)

    async def enter(self, site: str) -> Session | None:
        """Waits until one more connection may be opened, or a session is free.

        There are never more jobs than permits, so one that waits does so for a connection that is
        being closed.

        Returns:
            A kept session, which counts already; or None for a connection that counts from now on.
        """
        gate = self._gates[site]
        if gate.open < gate.permits and not gate.waiting:
            gate.open += 1
            return None
        turn: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        gate.waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                pass  # whoever comes upon it passes it over
            elif session := turn.result():
                session.quit()
            else:
                self.left(site)
            raise

    def left(self, site: str) -> None:
        """A connection is gone, or came to nothing."""
        gate = self._gates[site]
        gate.open -= 1
        while gate.waiting and gate.open < gate.permits:
            turn = gate.waiting.popleft()
            if not turn.done():  # else it was canceled just now
                gate.open += 1
                turn.set_result(None)
        self._settle(site, gate)

    def offer(self, session: Session) -> bool:
        """Gives a session that is free to a job that waits; whether there was one."""
        gate = self._gates[session.key.site]
        while gate.waiting:
            turn = gate.waiting.popleft()
            if not turn.done():
                turn.set_result(session)
                return True
        return False

    def _settle(self, site: str, gate: _Gate) -> None:
        free = gate.permits - max(gate.jobs, gate.open)
        if free > 0:
            gate.permits -= free
            self._on_free(site, free)
        if not (gate.jobs or gate.open):
            del self._gates[site]
