"""When a process that died is started again."""

from dataclasses import dataclass

from sealwax.policy.clock_watch import WENT_BACK_STATUS

_LONG_LIFE_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a process.

    Attributes:
        short_lives: Deaths in a row, each within seconds after its start.
    """

    short_lives: int = 0


def restart(history: History, *, status: int, lived_s: float) -> tuple[float, History]:
    """Decides after a death.

    The first restart is immediate. One that keeps dying within 10 s waits 0.5, 1, 2, ... up to
    10 s.

    Args:
        history: Before the death.
        status: Exit status; negative for a signal.
        lived_s: Seconds since its start.

    Returns:
        Seconds to wait, and the history for the next death.
    """
    if status == WENT_BACK_STATUS:  # a flow that only wants to begin anew
        return 0.0, history
    short_lives = 0 if lived_s >= _LONG_LIFE_S else history.short_lives
    if short_lives == 0:
        return 0.0, History(1)
    wait_s = min(_FIRST_WAIT_S * 2 ** (short_lives - 1), _LONGEST_WAIT_S)
    return wait_s, History(short_lives + 1)
