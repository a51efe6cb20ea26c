"""What a limit is to those who keep to it, whoever counts."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sealwax.policy.throttle import Rate

# Called with the name of a limit that refused, and the monotonic time in milliseconds at which it
# may have room; from any thread.
OnRoom = Callable[[str, float], None]


class Taken(NamedTuple):
    """What a rate let go.

    Attributes:
        granted: How many may go now.
        again_at_ms: When to ask again for those that may not; None where all may.
    """

    granted: int
    again_at_ms: float | None


class Permits(Protocol):
    """How many at once."""

    def room(self, wanted: int, now_ms: float) -> int:
        """How many of `wanted` may begin now; what is missing is asked for.

        Never blocks. Where it is less than wanted, `on_room` says when it may be more. Asked with 0
        by those who want no more.
        """
        ...

    def take(self, count: int) -> None:
        """Begins that many; at most what `room` said just before, in the same thread."""
        ...

    def give_back(self, count: int) -> None:
        """That many have ended."""
        ...


class RateLimit(Protocol):
    """How many over time."""

    def take(self, wanted: int, now_ms: float) -> Taken:
        """Takes up to `wanted`, at least 1, at a monotonic time in milliseconds; never blocks."""
        ...


class Limits(Protocol):
    """Named limits. Thread-safe; the same name is the same limit, with any number of holders."""

    def permits(self, name: str, most: int) -> Permits:
        """At most `most` at once."""
        ...

    def rate(self, name: str, rate: Rate) -> RateLimit:
        """At most `rate`, to which a shared counter may add one second of it."""
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...
