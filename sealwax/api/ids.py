"""Ids of emails and of requests."""

import os
from typing import Final

from sealwax.model.email_id import ENTROPY_BYTES, email_id

_BLOCK: Final = 4096
_REQUEST_BYTES: Final = 8


class Ids:
    """Makes ids of random bytes that nobody can foresee; used from one thread.

    The bytes come from the kernel in blocks: each call costs 10 us, however few are asked for.
    """

    def __init__(self) -> None:
        self._random = b""
        self._used = 0

    def email(self, now_ms: int) -> str:
        """The id of an email that is accepted at `now_ms`."""
        return email_id(now_ms, self._take(ENTROPY_BYTES))

    def request(self) -> str:
        """The id of a request, 16 hexadecimal digits."""
        return self._take(_REQUEST_BYTES).hex()

    def _take(self, size: int) -> bytes:
        if self._used + size > len(self._random):
            self._random, self._used = os.urandom(_BLOCK), 0
        first = self._used
        self._used += size
        return self._random[first : self._used]
