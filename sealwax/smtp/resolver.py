"""MX look-ups for all threads of a process, made in one thread with an event loop of its own."""

import asyncio
import resource
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from random import Random
from typing import TypeVar

from sealwax.model.reply import Reply
from sealwax.smtp.mx import MxResolver, Target
from sealwax.smtp.settings import SmtpSettings

_START_TIMEOUT_S = 10.0
_MOST_AT_ONCE = 10_000
# Each question in flight has a socket; sessions and files need theirs.
_LEFT_TO_OTHERS = 2_048

T = TypeVar("T")


class Resolver:
    """Answers from memory at once, and else by a look-up that nobody waits for twice. Thread-safe.

    Args:
        settings: Name servers and the timeout of a look-up.
        random: Chooses among equal MX hosts.
    """

    def __init__(self, settings: SmtpSettings, random: Random) -> None:
        self._loop = asyncio.new_event_loop()
        self._mx = MxResolver(settings, random, _room_for_questions())
        self._thread = threading.Thread(target=self._run, name="resolver", daemon=True)
        self._thread.start()

    def known(self, domain: str) -> Target | Reply | None:
        """What is remembered of a domain's MX hosts; None where it has to be asked for."""
        return self._mx.known(domain)

    def look_up(self, domain: str) -> "Future[Target | Reply]":
        """The MX hosts of a domain, or why there are none."""
        return asyncio.run_coroutine_threadsafe(self._mx.target(domain), self._loop)

    async def target(self, domain: str) -> Target | Reply:
        """The same for another event loop."""
        known = self.known(domain)
        if known is not None:
            return known
        return await self._elsewhere(self._mx.target(domain))

    async def addresses(self, host: str) -> tuple[str, ...] | Reply:
        """The addresses of an MX host that may be connected to; at least one."""
        known = self._mx.known_addresses(host)
        if known is not None:
            return known
        return await self._elsewhere(self._mx.addresses(host))

    def close(self) -> None:
        """Ends the thread; what is still asked for has no answer."""
        with suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_TIMEOUT_S)

    async def _elsewhere(self, look_up: Coroutine[None, None, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(look_up, self._loop))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(_abandon())
        finally:
            self._loop.close()


def _room_for_questions() -> int:
    """How many may be in flight; as many files as the system lets this process have bound it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_AT_ONCE + _LEFT_TO_OTHERS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        max(1, min(_MOST_AT_ONCE, soft - _LEFT_TO_OTHERS)) if soft > _LEFT_TO_OTHERS else soft // 4
    )


async def _abandon() -> None:
    # What is canceled may begin something in its turn, and close its socket a moment later.
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    await asyncio.sleep(0)
