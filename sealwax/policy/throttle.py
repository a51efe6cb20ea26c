"""Rates: how often something may happen, in the virtual scheduling form of GCRA."""

from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit on how often.

    Attributes:
        period_ms: Milliseconds between two of them in the long run; may be a fraction.
        burst: How many may come at once after a pause; at least 1.
    """

    period_ms: float
    burst: int = 1

    @override
    def __str__(self) -> str:
        return f"{1000 / self.period_ms:g}/s"


class Admission(NamedTuple):
    """When the next one may go, and the state to keep."""

    ready_at_ms: float
    horizon_ms: float


def admit(rate: Rate, *, horizon_ms: float, now_ms: float) -> Admission:
    """Books the next free slot at `rate`.

    Args:
        rate: The limit in force.
        horizon_ms: State of the last call; any past time for a fresh destination.
        now_ms: Time of the request, on the clock of `horizon_ms`.

    Returns:
        The slot and the next state. In any span of time `t`, at most `t / period + burst` slots
        begin.

    Source:
        ITU-T I.371 Annex A, virtual scheduling form.
    """
    slack = rate.period_ms * (rate.burst - 1)
    arrival = max(horizon_ms, now_ms)
    return Admission(max(now_ms, arrival - slack), arrival + rate.period_ms)


def admitted_at_once(rate: Rate, *, horizon_ms: float, now_ms: float) -> int:
    """How many slots `admit` would give for `now_ms`, one after the other."""
    if horizon_ms <= now_ms:
        return rate.burst
    late_ms = now_ms - (horizon_ms - rate.period_ms * (rate.burst - 1))
    return 0 if late_ms < 0 else int(late_ms // rate.period_ms) + 1
