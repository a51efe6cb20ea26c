"""The limits of a lane."""

from dataclasses import dataclass

from sealwax.policy.throttle import Rate


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
