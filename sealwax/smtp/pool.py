"""Open sessions: those that wait for their next message, and room for new ones."""

import asyncio
from collections import defaultdict

from sealwax.smtp.session import Session


class Pool:
    """Keeps idle sessions for a while, and bounds how many connections are open. One event loop.

    Every connection holds one place from before it is opened until it is gone.
    """

    def __init__(self, most_open: int, idle_s: float, room_s: float) -> None:
        self._places = asyncio.Semaphore(most_open)
        self._idle_s = idle_s
        self._room_s = room_s
        self._waiting = 0
        self._open = 0
        # By site and address for the taker, newest last; and all with the time when each expires.
        self._idle: defaultdict[tuple[str, str], list[Session]] = defaultdict(list)
        self._until: dict[Session, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """Connections that exist, or are being opened or closed."""
        return self._open

    def take(self, site: str, source_ip: str) -> Session | None:
        """An idle session that can still be used; the newest, so that the rest may expire."""
        sessions = self._idle.get((site, source_ip))
        while sessions:
            session = sessions.pop()
            del self._until[session]
            if not sessions:
                del self._idle[site, source_ip]
            if session.usable:
                return session
            session.quit()
        return None

    def put(self, session: Session, idle_s: float = 0.0) -> None:
        """Keeps a session for its next message, or ends it where it cannot have one.

        Args:
            session: The session.
            idle_s: For how long; 0 for as long as the pool does.
        """
        if self._waiting or not session.usable:
            session.quit()
            return
        loop = asyncio.get_running_loop()
        until = self._until[session] = loop.time() + (idle_s or self._idle_s)
        self._idle[_place(session)].append(session)
        if self._sweeper is None or until < self._sweeper.when():
            self._sweep_at(until)

    def drop(self, site: str) -> None:
        """Ends the idle sessions of a site."""
        for session in [one for one in self._until if one.key.site == site]:
            self._remove(session).quit()

    async def reserve(self) -> None:
        """Waits for a place; an idle session makes room where none is left.

        Raises:
            TimeoutError: All were in use for as long as an attempt waits for one.
        """
        if self._places.locked() and self._until:
            self._remove(next(iter(self._until))).quit()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._room_s):
                await self._places.acquire()
        finally:
            self._waiting -= 1
        self._open += 1

    def release(self) -> None:
        """Gives the place of a connection back that is gone."""
        self._open -= 1
        self._places.release()

    def close(self) -> None:
        """Ends all idle sessions."""
        for session in list(self._until):
            self._remove(session).quit()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _sweep_at(self, when: float) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweeper = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for session in [one for one, until in self._until.items() if until <= now]:
            self._remove(session).quit()
        if self._until:
            self._sweep_at(min(self._until.values()))

    def _remove(self, session: Session) -> Session:
        del self._until[session]
        place = _place(session)
        self._idle[place].remove(session)
        if not self._idle[place]:
            del self._idle[place]
        return session


def _place(session: Session) -> tuple[str, str]:
    return session.key.site, session.key.source_ip
