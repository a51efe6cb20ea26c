"""Ids of emails and of requests, made in bulk: asking the kernel each time takes 10 us."""

import os
from itertools import count
from typing import Final

from sealwax.model.email_id import ENTROPY_BYTES, email_id

_BLOCK: Final = ENTROPY_BYTES * 400


class EmailIds:
    """Makes ids of emails, of random bytes that nobody can foresee."""

    def __init__(self) -> None:
        self._random = b""
        self._used = 0

    def make(self, now_ms: int) -> str:
        """The id of an email that is accepted at `now_ms`."""
        if self._used == len(self._random):
            self._random, self._used = os.urandom(_BLOCK), 0
        first = self._used
        self._used += ENTROPY_BYTES
        return email_id(now_ms, self._random[first : self._used])


class RequestIds:
    """Makes ids of requests: random per process, then counted."""

    def __init__(self) -> None:
        self._process = os.urandom(5).hex()
        self._numbers = count(1)

    def make(self) -> str:
        """The id of the next request."""
        return f"{self._process}-{next(self._numbers):06x}"
