"""What becomes of a message after an attempt that did not deliver it."""

from dataclasses import dataclass
from typing import NamedTuple

from sealwax.policy.classify.fates import MessageFate
from sealwax.policy.delay import jittered

# A message that could go at once waits like any other after so many attempts: where each new
# connection says the same, it is not this connection's fault.
_AT_ONCE_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """The retry schedule.

    Attributes:
        delays_ms: Wait after the first, second, ... failed attempt; the last one repeats.
    """

    delays_ms: tuple[int, ...] = (60_000, 300_000, 900_000, 3_600_000)


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again, not before this time (milliseconds since 1970)."""

    not_before_ms: int


@dataclass(frozen=True, slots=True)
class Bounce:
    """The recipient's server refused this message for good."""


@dataclass(frozen=True, slots=True)
class Expire:
    """It was tried for as long as it may be; to the sender a hard bounce with an alert."""


Fate = Retry | Bounce | Expire


class Tried(NamedTuple):
    """An attempt that the peer did not accept.

    Attributes:
        number: How many were made, this one included; at least 1.
        began_at_ms: When it began.
        now_ms: The present, when it has ended.
    """

    number: int
    began_at_ms: int
    now_ms: int


def fate_of(
    settings: RetrySettings,
    message: MessageFate,
    tried: Tried,
    *,
    give_up_at_ms: int,
    draw: float,
    clock_trusted: bool = True,
) -> Fate:
    """Decides after an attempt that the peer did not accept.

    A message expires only after an attempt made since its deadline, so the last retry is planned
    for the deadline itself. There is no other way to expire: nothing forbids attempts for good, so
    none is decided without one.

    Args:
        settings: The schedule.
        message: What the reply says of the message: sealwax.policy.classify.
        tried: The attempt.
        give_up_at_ms: The deadline.
        draw: Uniform in [0, 1), for the jitter.
        clock_trusted: Where not, no message expires (R11): what is past its deadline is tried on.
    """
    if message.fails:
        return Bounce()
    if clock_trusted and tried.began_at_ms >= give_up_at_ms:
        return Expire()
    planned_ms = tried.now_ms + jittered(_wait_ms(settings, message, tried.number), draw)
    if not clock_trusted and tried.now_ms >= give_up_at_ms:
        return Retry(planned_ms)
    return Retry(max(tried.now_ms, min(planned_ms, give_up_at_ms)))


def _wait_ms(settings: RetrySettings, message: MessageFate, attempts: int) -> int:
    """The wait after so many attempts.

    A wait that a rule states is the least: the schedule goes on growing, so that no rule has a
    message tried more often than it.
    """
    if message.at_once and attempts <= _AT_ONCE_ATTEMPTS:
        return 0
    planned_ms = settings.delays_ms[min(attempts, len(settings.delays_ms)) - 1]
    return max(planned_ms, message.after_ms)
