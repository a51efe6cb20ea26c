"""Limits of processes that tests make, on a clock that they move."""

import secrets
from random import Random

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sealwax.store.limits.redis import SCRIPT, RedisLimits

_TIME = "redis.call('TIME')"
# The clock of the tests in place of the server's: milliseconds in ARGV[2].
MOVED = SCRIPT.replace(
    _TIME, "{ math.floor(ARGV[2] / 1000), math.floor(ARGV[2] % 1000 * 1000 + 0.5) }"
)
assert SCRIPT.count(_TIME) == 1


class World:
    """A real server whose clock is the test's, and the processes that share its limits."""

    def __init__(self, port: int, seed: int = 0) -> None:
        self._client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0))
        self._script = self._client.register_script(MOVED)
        self._random = Random(seed)
        self.prefix = f"{{{secrets.token_hex(6)}}}"
        self.now_ms = 1_000_000.0
        self.server_ahead_ms = 1.7e12
        self.there = True

    def process(self) -> "Process":
        made = Process(self, self._random)
        made.limits.turn()
        return made

    def call(self, question: bytes) -> bytes:
        if not self.there:
            raise redis.ConnectionError("away")
        time_ms = f"{self.now_ms + self.server_ahead_ms:.3f}"
        said: bytes = self._script(keys=[self.prefix], args=[question, time_ms])
        return said

    def lose_memory(self) -> None:
        for key in self._client.scan_iter(f"{self.prefix.replace('{', '[{]')}*"):
            self._client.delete(key)

    def stored(self) -> list[bytes]:
        return list(self._client.scan_iter(f"{self.prefix}*"))

    def close(self) -> None:
        self._client.close()


class Process:
    """One process: its limits, whose thread the test runs, and what they said."""

    def __init__(self, world: World, random: Random) -> None:
        self.reached = True
        self.room: list[tuple[str, float]] = []

        def call(question: bytes) -> bytes:
            if not self.reached:
                raise redis.ConnectionError("away")
            return world.call(question)

        self.limits = RedisLimits(
            call, lambda *said: self.room.append(said), random, lambda: world.now_ms
        )

    def turn(self) -> None:
        """As the thread does, but only when it would."""
        if self.limits.next_turn_ms <= self.limits._now_ms():
            self.limits._next_ms = float("inf")
            self.limits.turn()
