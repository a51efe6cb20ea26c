"""Limits that several processes share, counted by a Redis or Valkey server.

A thread asks for all limits of the process in one call. The server's clock counts; what a process
does with its answers goes by its monotonic clock. Losing the server loses no mail and, beside what
was leased, exceeds no limit: sealwax.policy.sharing says what holds meanwhile.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from importlib.resources import files
from random import Random
from typing import TypedDict
from weakref import WeakValueDictionary

import orjson
import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import override

from sealwax import clock
from sealwax.policy import sharing
from sealwax.policy.sharing import Standing
from sealwax.policy.throttle import Rate
from sealwax.store.limits.leased import Leased, LeasedPermits, LeasedRate, Question, Turn
from sealwax.store.limits.port import Limits, OnRoom, Permits, RateLimit

logger = structlog.get_logger(__name__)

SCRIPT = files(__package__).joinpath("round.lua").read_text()
_TERMS = {
    "permits_ms": sharing.PERMITS_MS,
    "forgets_ms": sharing.FORGETS_MS,
    "alone_ms": sharing.ALONE_AFTER_MS,
    "ahead_ms": sharing.AHEAD_MS,
    "stock_ms": sharing.STOCK_MS,
    "turn_ms": sharing.TURN_MS,
}
_NEVER = float("inf")
_GAP_MS = 25.0  # between two calls
_BEAT_MS = 100.0  # and about so much where nobody waits
_LOOK_EVERY_S = 1.0
_AT_ONCE = 500  # limits in a call: the server does nothing else meanwhile


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where limits are counted.

    Attributes:
        url: `redis://`, `rediss://` or `unix://`; holds the password.
        timeout: Longest wait for a connection, and for an answer.
        prefix: Before each key; who shares it shares the limits.
    """

    url: str = field(repr=False)
    timeout: timedelta = timedelta(seconds=1)
    prefix: str = "sealwax"


@dataclass(slots=True)
class Counts:
    """What happened since the start.

    Attributes:
        calls: Calls that were answered.
        failed: Calls that were not.
        tokens: Tokens that were granted.
        refused: Questions that were granted less than they asked for.
        lost: How often the server went away.
    """

    calls: int = 0
    failed: int = 0
    tokens: int = 0
    refused: int = 0
    lost: int = 0


Call = Callable[[bytes], bytes]
Asked = tuple[Leased, Question]


class _Said(TypedDict):
    """An answer of the script; an empty list is an empty object in the JSON of Lua."""

    since: str
    speaks: bool
    members: int
    rank: int
    rates: list[list[float]]
    permits: list[list[float]]


class RedisLimits(Limits):
    """The limits of a process that shares them with others.

    Args:
        call: Runs the script over a question; raises RedisError where there is no answer.
        on_room: Told when a limit may have room for one that it refused.
        random: Names the process, and spreads the questions of all.
        now_ms: The monotonic clock, in milliseconds.
        timeout: Longest time that a call takes.
    """

    def __init__(
        self,
        call: Call,
        on_room: OnRoom,
        random: Random | None = None,
        now_ms: Callable[[], float] = lambda: clock.monotonic() * 1000,
        timeout: timedelta = timedelta(),
    ) -> None:
        self._call = call
        self._on_room = on_room
        self._random = random or Random()  # noqa: S311 - spreads load, keeps no secret
        self._now_ms = now_ms
        timeout_ms = timeout / timedelta(milliseconds=1)
        self._terms = {
            **_TERMS,
            "silent_ms": sharing.SILENT_MS + timeout_ms,
            "noticed_ms": sharing.RETRY_MS + timeout_ms,
        }
        self._since = ""
        self._me = f"{self._random.getrandbits(128):032x}"
        self._standing = Standing(away_since_ms=now_ms())
        self._permits: WeakValueDictionary[str, LeasedPermits] = WeakValueDictionary()
        self._rates: WeakValueDictionary[str, LeasedRate] = WeakValueDictionary()
        self._active: dict[Leased, None] = {}
        self._making = threading.Lock()
        self._changed = threading.Condition()
        self._next_ms = 0.0
        self._not_before_ms = 0.0
        self._beat_ms = 0.0
        self._said_ms = -_NEVER
        self._said_away = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="limits", daemon=True)
        self.counts = Counts()

    @classmethod
    def open(cls, settings: RedisSettings, on_room: OnRoom) -> "RedisLimits":
        """Connects, and starts the thread; a server that does not answer is no error."""
        limits = cls(_connect(settings), on_room, timeout=settings.timeout)
        limits.start()
        return limits

    @property
    def standing(self) -> Standing:
        """What is known of the other processes."""
        return self._standing

    @property
    def next_turn_ms(self) -> float:
        """When the thread has something to do."""
        return max(self._next_ms, self._not_before_ms)

    @property
    def _shows_at_ms(self) -> float:
        """When it has to call though it has nothing to ask."""
        return self._said_ms + sharing.SHOWN_AFTER_MS

    def start(self) -> None:
        """The first call is made before it returns, so that a server that is there is seen."""
        self.turn()
        self._thread.start()

    @override
    def permits(self, name: str, most: int) -> Permits:
        with self._making:
            found = self._permits.get(name)
            if found is None:
                found = self._permits[name] = LeasedPermits(name, most, self)
            return found

    @override
    def rate(self, name: str, rate: Rate) -> RateLimit:
        with self._making:
            found = self._rates.get(name)
            if found is None:
                found = self._rates[name] = LeasedRate(name, rate, self)
            return found

    @override
    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        if self._standing.away_since_ms is None:
            self._say_farewell()
        logger.info("shared limits", **asdict(self.counts))

    def ask(self, limit: Leased, at_ms: float) -> None:
        """Plans a call that carries the question of this limit."""
        self._active[limit] = None
        self._plan(at_ms)

    def let_go(self, turn: Turn) -> None:
        """Tells those whose turn it is."""
        for who, at_ms in turn:
            self._on_room(who, at_ms)

    def turn(self) -> None:
        """Asks what is to be asked, and takes in the answers; the thread does nothing else."""
        rates: list[Asked] = []
        permits: list[Asked] = []
        now_ms = self._now_ms()
        for limit in list(self._active):
            question = limit.question(now_ms)
            if question is not None:
                (permits if isinstance(limit, LeasedPermits) else rates).append((limit, question))
        heard = True
        if rates or permits or self._must_show(now_ms):
            heard = self._carry(rates, permits)
        self._not_before_ms = self._now_ms() + (_GAP_MS if heard else sharing.RETRY_MS)
        # Drawn, so that no process is always the one that comes just after another.
        self._beat_ms = self._now_ms() + _BEAT_MS * (0.75 + self._random.random() / 2)
        self._let_go({limit for limit, _ in (*rates, *permits)} if heard else set(self._active))

    def _must_show(self, now_ms: float) -> bool:
        """Whether the others would soon take this process for gone, or it has to look for them."""
        away = self._standing.away_since_ms is not None
        return away or now_ms >= self._shows_at_ms

    def _let_go(self, changed: set[Leased]) -> None:
        """Tells those that may go, and forgets what has nothing to ask any more."""
        now_ms = self._now_ms()
        plan_ms = _NEVER
        for limit in list(self._active):
            if limit in changed:
                self.let_go(limit.turn(now_ms))
            # In this order: who asks meanwhile is in there again, or is seen to be due.
            del self._active[limit]
            due_ms = limit.due_ms()
            if due_ms < _NEVER:
                self._active[limit] = None
                plan_ms = min(plan_ms, due_ms)
        self._plan(min(plan_ms, self._shows_at_ms))

    def _plan(self, at_ms: float) -> None:
        if at_ms > self._now_ms():
            at_ms = max(at_ms, self._beat_ms)  # what does not press goes together
        if at_ms < self._next_ms:
            with self._changed:
                self._next_ms = min(self._next_ms, at_ms)
                self._changed.notify()

    def _run(self) -> None:
        while self._waits_its_turn():
            try:
                self.turn()
            except Exception:
                logger.exception("shared limits failed")
                self._away(self._now_ms(), "internal error")
                self._not_before_ms = self._now_ms() + sharing.RETRY_MS
                self._plan(0.0)

    def _waits_its_turn(self) -> bool:
        with self._changed:
            while not self._closing:
                left_ms = self.next_turn_ms - self._now_ms()
                if left_ms <= 0:
                    break
                self._changed.wait(min(left_ms / 1000, _LOOK_EVERY_S))
            self._next_ms = _NEVER
            return not self._closing

    def _carry(self, rates: Sequence[Asked], permits: Sequence[Asked]) -> bool:
        """Makes the calls; whether each was answered."""
        for first in range(0, max(len(rates), len(permits), 1), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            if not self._carry_some(rates[some], permits[some]):
                return False
        return True

    def _carry_some(self, rates: Sequence[Asked], permits: Sequence[Asked]) -> bool:
        sent_ms = self._now_ms()
        try:
            said = self._say([one for _, one in rates], [one for _, one in permits])
        except (redis.RedisError, OSError, ValueError) as error:
            self.counts.failed += 1
            self._away(sent_ms, str(error))
            return False
        received_ms = self._now_ms()
        self._back(said, received_ms)
        answers = zip([*rates, *permits], [*said["rates"], *said["permits"]], strict=True)
        for (limit, question), answer in answers:
            limit.answer(answer, sent_ms, received_ms)
            self.counts.refused += answer[0] < question[3]
        self.counts.tokens += sum(int(answer[0]) for answer in said["rates"])
        return True

    def _say(
        self, rates: list[Question], permits: list[Question], *, leaves: bool = False
    ) -> _Said:
        ask = {"me": self._me, "leaves": leaves, "rates": rates, "permits": permits, **self._terms}
        said: _Said = orjson.loads(self._call(orjson.dumps(ask)))
        self.counts.calls += 1
        return said

    def _say_farewell(self) -> None:
        said = [limit.farewell() for limit in self._active]
        try:
            self._say([], [one for one in said if one is not None], leaves=True)
        except (redis.RedisError, OSError) as error:
            logger.warning("permits were not given back", error=str(error))

    def _back(self, said: _Said, now_ms: float) -> None:
        self._said_ms = now_ms
        # Until all have shown themselves again to a server that forgot them, the old view holds.
        if said["speaks"] or not self._standing.members:
            self._standing = Standing(None, said["members"], said["rank"])
        else:
            self._standing = replace(self._standing, away_since_ms=None)
        if said["since"] != self._since:
            self._since = said["since"]
            for limit in list(self._active):
                limit.forgotten()
        if self._said_away:
            self._said_away = False
            logger.info("shared limits are back", members=said["members"])

    def _away(self, now_ms: float, error: str) -> None:
        if self._standing.away_since_ms is None:
            self.counts.lost += 1
            self._standing = replace(self._standing, away_since_ms=now_ms)
        if not self._said_away:
            self._said_away = True
            members = self._standing.members
            logger.warning("shared limits are away", error=error, members=members)


def _connect(settings: RedisSettings) -> Call:
    seconds = settings.timeout.total_seconds()
    client = redis.Redis.from_url(
        settings.url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),  # the thread itself tries again
    )
    script = client.register_script(SCRIPT)
    keys = [f"{{{settings.prefix}}}:limits"]

    def call(question: bytes) -> bytes:
        said: bytes = script(keys=keys, args=[question])
        return said

    return call
