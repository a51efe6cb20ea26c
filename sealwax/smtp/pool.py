"""Open sessions: those that wait for their next message, and room for new ones."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from sealwax.smtp.session import Session, SessionKey


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
        # By key for the taker, newest last; and all of them with the time when each expires.
        self._idle: defaultdict[SessionKey, list[Session]] = defaultdict(list)
        self._until: dict[Session, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """Connections that exist, or are being opened or closed."""
        return self._open

    def take(self, key: SessionKey) -> Session | None:
        """An idle session that can still be used; the newest, so that the rest may expire."""
        sessions = self._idle.get(key)
        while sessions:
            session = sessions.pop()
            del self._until[session]
            if not sessions:
                del self._idle[key]
            if session.usable:
                return session
            session.quit()
        return None

    def has(self, key: SessionKey) -> bool:
        """Whether an idle session of the key is kept."""
        return key in self._idle

    def put(self, session: Session) -> None:
        """Keeps a session for its next message, or ends it where it cannot have one."""
        if self._waiting or not session.usable:
            session.quit()
            return
        loop = asyncio.get_running_loop()
        self._idle[session.key].append(session)
        self._until[session] = loop.time() + self._idle_s
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._idle_s, self._sweep)

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

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Sessions stand in the order in which they expire.
        for session in list(_expired(self._until, now)):
            self._remove(session).quit()
        first = next(iter(self._until.values()), None)
        self._sweeper = None if first is None else loop.call_at(first, self._sweep)

    def _remove(self, session: Session) -> Session:
        del self._until[session]
        sessions = self._idle[session.key]
        sessions.remove(session)
        if not sessions:
            del self._idle[session.key]
        return session


def _expired(until: dict[Session, float], now: float) -> Iterable[Session]:
    for session, expires in until.items():
        if expires > now:
            return
        yield session
