"""What becomes of a message after an attempt that did not deliver it."""

from dataclasses import dataclass
from typing import NamedTuple

from sealwax.model.reply import Command, Reply
from sealwax.policy.delay import jittered

_BEFORE_RCPT = frozenset(
    {Command.CONNECT, Command.BANNER, Command.EHLO, Command.STARTTLS, Command.MAIL}
)


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
    reply: Reply,
    tried: Tried,
    *,
    give_up_at_ms: int,
    draw: float,
    clock_trusted: bool = True,
) -> Fate:
    """Decides after an attempt that the peer did not accept.

    Only a 5xx at RCPT or later, or a domain that takes no mail, ends a message at once: a 5xx
    before RCPT is about the path, and an unknown failure is temporary. A message expires only after
    an attempt made since its deadline, so the last retry is planned for the deadline itself. There
    is no other way to expire: nothing forbids attempts for good, so none is decided without one.

    Args:
        settings: The schedule.
        reply: What the peer answered, or what stands for it.
        tried: The attempt.
        give_up_at_ms: The deadline.
        draw: Uniform in [0, 1), for the jitter.
        clock_trusted: Where not, no message expires (R11): what is past its deadline is tried on.
    """
    if reply.permanent and reply.command not in _BEFORE_RCPT:
        return Bounce()
    if clock_trusted and tried.began_at_ms >= give_up_at_ms:
        return Expire()
    delay_ms = settings.delays_ms[min(tried.number, len(settings.delays_ms)) - 1]
    planned_ms = tried.now_ms + jittered(delay_ms, draw)
    if not clock_trusted and tried.now_ms >= give_up_at_ms:
        return Retry(planned_ms)
    return Retry(max(tried.now_ms, min(planned_ms, give_up_at_ms)))
