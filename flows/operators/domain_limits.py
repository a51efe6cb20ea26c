"""What a lane may do for one recipient domain of its site, where that has limits of its own."""

from collections.abc import Sequence
from typing import NamedTuple

from sealwax.policy.shaping.shape import Bound, What
from sealwax.policy.throttle import Rate
from sealwax.store.limits import Limits, Permits, RateLimit


class Refused(NamedTuple):
    """A message of the domain may not go now.

    Attributes:
        bound_by: The limit.
        again_at_ms: When to ask again; None where a message of the domain that ends says it.
    """

    bound_by: Bound
    again_at_ms: float | None


class DomainLimits:
    """The limits of one domain. Its connections are those that carry a message to it."""

    def __init__(self, limits: Limits, domain: str, bounds: Sequence[Bound], who: str) -> None:
        """Takes the limits in force, and who asks."""
        self._domain = domain
        self._who = who
        self._connections: list[tuple[Bound, Permits]] = []
        self._messages: list[tuple[Bound, RateLimit]] = []
        for bound in bounds:
            name = self.name(bound)
            match bound.what, bound.value:
                case What.CONNECTIONS, int(most):
                    self._connections.append((bound, limits.permits(name, most)))
                case What.RATE, Rate() as rate:
                    self._messages.append((bound, limits.rate(name, rate)))
                case _:
                    pass  # what is a connection's is its site's

    def name(self, bound: Bound) -> str:
        """What a limit is called among all."""
        return f"{bound.scope}:{self._domain}"

    def take(self, now_ms: float) -> Refused | None:
        """Takes what one message needs; None where it may go."""
        for bound, permits in self._connections:
            if not permits.room(1, now_ms, self._who):
                return Refused(bound, None)
        taken: list[RateLimit] = []
        for bound, rate in self._messages:
            granted, again_at_ms = rate.take(1, now_ms, self._who)
            if not granted:
                for one in taken:
                    one.give_back(1)
                return Refused(bound, again_at_ms)
            taken.append(rate)
        for count, (bound, permits) in enumerate(self._connections):
            if not permits.take(1, self._who):  # another thread was quicker
                for one in taken:
                    one.give_back(1)
                for _, begun in self._connections[:count]:
                    begun.give_back(1)
                return Refused(bound, None)
        return None

    def ended(self) -> None:
        """A message that was let go has ended."""
        for _, permits in self._connections:
            permits.give_back(1)

    def wants_no_more(self, now_ms: float) -> None:
        """Lets others go first from now on."""
        for _, permits in self._connections:
            permits.room(0, now_ms, self._who)
        for _, rate in self._messages:
            rate.take(0, now_ms, self._who)
