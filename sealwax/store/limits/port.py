"""What a limit is to those who keep to it, whoever counts.

Those who ask say who they are, so that each has its turn: one name for each that waits by itself,
such as a lane.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sealwax.policy.throttle import Rate

# Called with who was refused, and the monotonic time in milliseconds at which there may be room for
# it; from any thread.
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

    def peek(self, now_ms: float, who: str = "") -> int:
        """How many may begin now; asks for none."""
        ...

    def room(self, wanted: int, now_ms: float, who: str = "") -> int:
        """How many of `wanted` may begin now; what is missing is asked for.

        Never blocks. Where it is less than wanted, `on_room` says when it may be more. Asked with 0
        by those who want no more: the next one has its turn.
        """
        ...

    def take(self, count: int, who: str = "") -> int:
        """Begins that many, or as many as there still are; how many.

        At most what `room` said just before. Fewer only where another thread was quicker.
        """
        ...

    def give_back(self, count: int) -> None:
        """That many have ended."""
        ...

    def contended(self, who: str) -> bool:
        """Whether anybody else in this process was refused, and still waits."""
        ...


class RateLimit(Protocol):
    """How many over time."""

    def peek(self, now_ms: float, who: str = "") -> int:
        """How many may go now; asks for none."""
        ...

    def take(self, wanted: int, now_ms: float, who: str = "") -> Taken:
        """Takes up to `wanted` at a monotonic time in milliseconds; never blocks.

        Asked with 0 by those who want no more.
        """
        ...

    def give_back(self, count: int) -> None:
        """That many of those just taken, in the same thread, are not used after all."""
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
