"""How many of a lane's waiting messages may be handed to sessions, and why no more."""

from dataclasses import dataclass
from typing import NamedTuple

from sealwax.model.event import Cause
from sealwax.policy.throttle import Rate, admit


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """The limits of one site.

    Attributes:
        connections: Sessions at once.
        rate: Messages over time, or None for no limit.
        max_waiting_ms: How long a message that was not attempted waits in memory.
    """

    connections: int = 20
    rate: Rate | None = None
    max_waiting_ms: int = 10_000

    def named(self) -> tuple[tuple[str, str], ...]:
        """The limits as an outcome records them: name and value."""
        if self.rate is None:
            return (("connections", str(self.connections)),)
        return (("connections", str(self.connections)), ("rate", str(self.rate)))


class Grant(NamedTuple):
    """What a lane may do now.

    Attributes:
        messages: How many waiting messages go to sessions.
        horizon_ms: The rate's state afterwards.
        blocked_by: What keeps the next one waiting.
        again_at_ms: When the rate lets the next one go; None where a session must end first.
    """

    messages: int
    horizon_ms: float
    blocked_by: Cause
    again_at_ms: float | None


def grant(
    settings: LaneSettings, *, waiting: int, open_sessions: int, horizon_ms: float, now_ms: float
) -> Grant:
    """Hands out sessions and rate slots together: a slot is booked only with a session.

    Args:
        settings: The limits in force.
        waiting: Messages that could go.
        open_sessions: Sessions that work for this lane.
        horizon_ms: The rate's state.
        now_ms: Monotonic time, on the clock of `horizon_ms`.
    """
    free = max(0, settings.connections - open_sessions)
    wanted = min(waiting, free)
    if settings.rate is None:
        return Grant(wanted, horizon_ms, Cause.CONNECTIONS, None)
    granted = 0
    while granted < wanted:
        slot = admit(settings.rate, horizon_ms=horizon_ms, now_ms=now_ms)
        if slot.ready_at_ms > now_ms:
            return Grant(granted, horizon_ms, Cause.RATE, slot.ready_at_ms)
        horizon_ms = slot.horizon_ms
        granted += 1
    return Grant(granted, horizon_ms, Cause.CONNECTIONS, None)
