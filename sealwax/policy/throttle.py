"""Rates: how often something may happen, in the virtual scheduling form of GCRA."""

import re
from dataclasses import dataclass
from math import ceil, isclose
from typing import NamedTuple

from typing_extensions import override

_FORM = re.compile(r"([0-9]{1,6})/([smh])", re.ASCII)
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
# What may come at once after a pause: as much as a tenth of a second allows. With less, a rate
# above 10/s would lose the slots that pass between two looks at the clock.
_BURST_MS = 100


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
        """As `rate_from` reads it, in the shortest unit that has a whole number of them."""
        for unit, unit_ms in _UNIT_MS.items():
            often = unit_ms / self.period_ms
            # Whole but for the last bit: what is written for an hour is off by 1/3600 at least.
            if often >= 1 and isclose(often, round(often), rel_tol=1e-9):
                return f"{round(often)}/{unit}"
        return f"{1000 / self.period_ms:g}/s"


def rate_from(text: str) -> Rate:
    """The rate that is written as `100/s`, `100/m` or `100/h`. Raises ValueError for all else."""
    form = _FORM.fullmatch(text)
    if form is None or int(form[1]) == 0:
        raise ValueError(text)
    period_ms = _UNIT_MS[form[2]] / int(form[1])
    return Rate(period_ms, max(1, ceil(_BURST_MS / period_ms)))


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
