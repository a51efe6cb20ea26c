"""Limits that a lane takes together, and gives back together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sealwax.policy.shaping.shape import Bound, Scope, What
from sealwax.policy.throttle import Rate
from sealwax.store.limits import Limits, Permits, RateLimit

# How the system's own choice of a source address is called in the names of limits.
_ANY_IP = "*"


class Grant(NamedTuple):
    """What may go now.

    Attributes:
        messages: How many.
        opened: How many connections may be opened for them.
        again_at_ms: When to ask again; None where only a connection that ends says it.
        bound_by: The limit for which it is not more; None where it is all that was wanted.
    """

    messages: int
    opened: int
    again_at_ms: float | None = None
    bound_by: Bound | None = None


def _width(bound: Bound) -> tuple[bool, bool]:
    """Sorts narrow limits before wide ones."""
    return bound.scope is Scope.PROVIDER, not bound.per_ip


class LimitSet:
    """The limits of a site and its provider, or of a domain, as one lane asks for them.

    A limit is shared by all lanes and processes that name it: by its scope and the name of what it
    is for, such as `provider:google`, with `@` and the source address where that counts for itself.
    A rate of connections is another limit than one of messages, with a name of its own. A domain's
    connections are those that carry a message to it: none of them is ever free for the next.
    """

    def __init__(
        self,
        limits: Limits,
        bounds: Sequence[Bound],
        named: Mapping[Scope, str],
        who: str,
        source_ip: str = "",
    ) -> None:
        """Takes the limits in force, the names of what they are for, and the site that asks."""
        self._named = named
        self._who = who
        self._source_ip = source_ip or _ANY_IP
        self._connections: list[tuple[Bound, Permits]] = []
        self._openings: list[tuple[Bound, RateLimit]] = []
        self._messages: list[tuple[Bound, RateLimit]] = []
        for bound in sorted(bounds, key=_width):
            self._add(limits, bound)
        self._waits = False

    def name(self, bound: Bound) -> str:
        """What a limit is called among all."""
        name = f"{bound.scope}:{self._named[bound.scope]}"
        return f"{name}@{self._source_ip}" if bound.per_ip else name

    @property
    def opens_by_rate(self) -> bool:
        """Whether each connection that is tried counts."""
        return bool(self._openings)

    @property
    def contended(self) -> bool:
        """Whether other lanes of this process wait for a connection of this one."""
        return any(permits.contended(self._who) for _, permits in self._connections)

    def has_room(self, now_ms: float) -> bool:
        """Whether a message could go now."""
        return self._possible(1, 0, now_ms)[0] > 0

    def grant(self, wanted: int, free: int, now_ms: float) -> Grant:
        """Takes what may go now of `wanted` messages, `free` connections being open for them.

        Only the limits that bind are asked for more than may go: whoever stands in line at a limit
        must be able to use what it gets there.
        """
        if not wanted:
            self.wants_no_more(now_ms)
            return Grant(0, 0)
        can, binding = self._possible(wanted, free, now_ms)
        again_at_ms: list[float] = []
        taken: list[tuple[RateLimit, int]] = []
        opened = max(0, can - free)
        for bound, rate in self._openings:
            more = max(0, wanted - free) if bound in binding else opened
            granted, at_ms = rate.take(more, now_ms, self._who)
            taken.append((rate, granted))
            opened = min(opened, granted)
            again_at_ms += [at_ms] if at_ms is not None else []
        messages = min(can, free + opened)
        for bound, rate in self._messages:
            granted, at_ms = rate.take(wanted if bound in binding else messages, now_ms, self._who)
            taken.append((rate, granted))
            messages = min(messages, granted)
            again_at_ms += [at_ms] if at_ms is not None else []
        opened = self._begin(max(0, messages - free), max(0, wanted - free), binding, now_ms)
        messages = min(messages, free + opened)
        self._return(taken, messages, opened)
        self._waits = messages < wanted
        if messages < can and not again_at_ms:
            again_at_ms.append(now_ms)  # another thread was quicker
        return Grant(messages, opened, max(again_at_ms, default=None), next(iter(binding), None))

    def unused(self, grant: Grant, messages: int, opened: int) -> None:
        """Gives back what was granted just now beyond so many messages and opened connections."""
        if messages == grant.messages:
            return
        for _, rate in self._messages:
            rate.give_back(grant.messages - messages)
        for _, rate in self._openings:
            rate.give_back(grant.opened - opened)
        self.give_back(grant.opened - opened)

    def wants_no_more(self, now_ms: float) -> None:
        """Lets others go first from now on."""
        if not self._waits:
            return
        self._waits = False
        for _, permits in self._connections:
            permits.room(0, now_ms, self._who)
        for _, rate in (*self._openings, *self._messages):
            rate.take(0, now_ms, self._who)

    def give_back(self, connections: int) -> None:
        """That many connections are gone."""
        for _, permits in self._connections:
            permits.give_back(connections)

    def _add(self, limits: Limits, bound: Bound) -> None:
        name = self.name(bound)
        match bound.what, bound.value:
            case What.CONNECTIONS, int(most):
                self._connections.append((bound, limits.permits(name, most)))
            case What.RATE, Rate() as rate:
                self._messages.append((bound, limits.rate(name, rate)))
            case What.CONNECTION_RATE, Rate() as rate:
                self._openings.append((bound, limits.rate(f"{name} {bound.what}", rate)))
            case _:
                pass  # for the session itself

    def _possible(self, wanted: int, free: int, now_ms: float) -> tuple[int, list[Bound]]:
        """How many messages may go, and the limits for which it is not more."""
        can, binding = wanted, list[Bound]()
        limits: list[tuple[Bound, Permits | RateLimit]] = []
        limits += self._messages
        limits += self._connections
        limits += self._openings
        for bound, limit in limits:
            room = limit.peek(now_ms, self._who)
            if bound.what is not What.RATE:
                room += free
            if room < can:
                can, binding = room, [bound]
            elif room == can < wanted:
                binding.append(bound)
        return can, binding

    def _begin(self, opened: int, wanted: int, binding: Sequence[Bound], now_ms: float) -> int:
        """Takes the permits of connections; fewer where another thread was quicker."""
        begun: list[tuple[Permits, int]] = []
        for bound, permits in self._connections:
            permits.room(wanted if bound in binding else opened, now_ms, self._who)
            got = permits.take(opened, self._who)
            begun.append((permits, got))
            opened = min(opened, got)
        for permits, got in begun:
            if got > opened:
                permits.give_back(got - opened)
        return opened

    def _return(self, taken: Sequence[tuple[RateLimit, int]], messages: int, opened: int) -> None:
        openings = {id(rate) for _, rate in self._openings}
        for rate, count in taken:
            used = opened if id(rate) in openings else messages
            if count > used:
                rate.give_back(count - used)
