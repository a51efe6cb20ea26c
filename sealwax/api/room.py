"""Room in memory for the bodies of requests, each until its answer is known."""

import asyncio
from collections import Counter, deque
from datetime import timedelta
from typing import Final

from sealwax.api.problems import BUSY, ProblemError

# A large body keeps no small ones waiting, so they have room of their own.
_LARGE_BYTES: Final = 1_000_000
_OF_SMALL_BYTES: Final = 16_000_000
# Two of the largest batches: a tenant that sends one slowly holds up its own next one alone.
_OF_LARGE_BYTES: Final = 64_000_000


class _Share:
    """So many bytes for so large bodies. For one event loop."""

    def __init__(self, most: int, *, one_a_tenant: bool) -> None:
        self._most = most
        self._one_a_tenant = one_a_tenant
        self._taken = 0
        self._of: Counter[str] = Counter()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def fits(self, tenant_id: str, size: int) -> bool:
        if self._one_a_tenant and self._of[tenant_id]:
            return False
        return self._taken + size <= self._most

    def take(self, tenant_id: str, size: int) -> None:
        self._taken += size
        self._of[tenant_id] += 1

    def give_back(self, tenant_id: str, size: int) -> None:
        self._taken -= size
        self._of[tenant_id] -= 1
        if not self._of[tenant_id]:
            del self._of[tenant_id]
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self, tenant_id: str, size: int) -> None:
        while not self.fits(tenant_id, size):
            changed = asyncio.get_running_loop().create_future()
            self._waiting.append(changed)
            try:
                await changed
            finally:
                self._waiting.remove(changed)


class Room:
    """Bounds what the requests of all clients hold in memory together. For one event loop.

    A request takes some four times its body: parsed, checked, and on its way to the log.
    """

    def __init__(self, patience: timedelta) -> None:
        """Takes how long a request may wait for room."""
        self._patience_s = patience.total_seconds()
        self._small = _Share(_OF_SMALL_BYTES, one_a_tenant=False)
        self._large = _Share(_OF_LARGE_BYTES, one_a_tenant=True)

    async def take(self, tenant_id: str, size: int) -> None:
        """Waits until there is room for a body, and takes it.

        Args:
            tenant_id: Whose request it is.
            size: What its body may have, in bytes.

        Raises:
            ProblemError: 503, there was none in time.
        """
        share = self._share(size)
        if not share.fits(tenant_id, size):
            try:
                async with asyncio.timeout(self._patience_s):
                    await share.wait(tenant_id, size)
            except TimeoutError as error:
                raise ProblemError(
                    BUSY,
                    "Other large requests are under way. Send them one after the other, or in "
                    "smaller batches.",
                ) from error
        share.take(tenant_id, size)

    def give_back(self, tenant_id: str, size: int) -> None:
        """Gives back what was taken."""
        self._share(size).give_back(tenant_id, size)

    def _share(self, size: int) -> _Share:
        return self._small if size <= _LARGE_BYTES else self._large
