"""A member of a flow's group."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


def _is_named_for_good() -> Callable[[], None]:
    return lambda: None


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """A member of a flow's group.

    Attributes:
        flow: The flow.
        instance: Names this process over its restarts, and no other one.
        session: How long the group waits for a member that is silent.
        alone: Whether one process has all numbers, and the others stand by: it is the one that
            number 0 is assigned to.
        processes: How many a Bytewax cluster has that it is one of.
        rename: Gives the next life of this process another name; returns what takes that back.
    """

    flow: str
    instance: str
    session: timedelta = timedelta(seconds=10)
    alone: bool = False
    processes: int = 1
    rename: Callable[[], Callable[[], None]] = _is_named_for_good

    @property
    def heartbeat(self) -> timedelta:
        """How often a member is heard."""
        return self.session / 5
