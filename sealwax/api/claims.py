"""Claims of keyed requests: many in one transaction, and none on the event loop."""

import asyncio
from typing import Final

from sealwax.policy.idempotency import Finish, GiveUp, Looked, Take, Taken
from sealwax.store.relational import Store

_Write = Take | Finish | GiveUp
_Waiting = tuple[_Write, "asyncio.Future[Taken | None]"]

# Each takes part of a millisecond, and a render that waits for the database's lock waits for all.
_MOST: Final = 200


class Claims:
    """Writes claims, in the order in which they were asked for.

    One transaction is under way at a time; what is asked for meanwhile goes into the next one. So
    the wait for the disk, which is most of the cost, is shared. Used from one event loop.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def look(self, name: str, payload_hash: bytes) -> Looked:
        """What is known of a keyed request.

        Raises:
            StoreAwayError: The database did not answer.
        """
        return await asyncio.to_thread(self._store.look_at_claim, name, payload_hash)

    async def take(self, wanted: Take) -> Taken:
        """Takes a claim, or says why not; durable when it returns.

        Raises:
            StoreAwayError: The database did not answer.
        """
        taken = await self._write(wanted)
        assert taken is not None  # noqa: S101 - every Take has an answer
        return taken

    async def close(self, claim: Finish | GiveUp) -> None:
        """Says how a request ended.

        Raises:
            StoreAwayError: The database did not answer.
        """
        await self._write(claim)

    async def _write(self, write: _Write) -> Taken | None:
        done: asyncio.Future[Taken | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            writes = [write for write, _ in group]
            try:
                answers = await asyncio.to_thread(self._store.write_claims, writes)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
                _settle(group, error)
            else:
                for (_, done), answer in zip(group, answers, strict=True):
                    if not done.done():  # else its client went away
                        done.set_result(answer)
        self._working = None


def _settle(group: list[_Waiting], error: Exception) -> None:
    for _, done in group:
        if not done.done():
            done.set_exception(error)
