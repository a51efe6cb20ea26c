"""What becomes of a message after an attempt that did not deliver it."""

from dataclasses import dataclass

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


def fate_of(
    settings: RetrySettings,
    reply: Reply,
    *,
    attempts: int,
    give_up_at_ms: int,
    now_ms: int,
    draw: float,
) -> Fate:
    """Decides after an attempt that the peer did not accept.

    Only a 5xx at RCPT or later, or a domain that takes no mail, ends a message at once: a 5xx
    before RCPT is about the path, and an unknown failure is temporary. A message expires only after
    an attempt made since its deadline, so the last retry is planned for the deadline itself.

    Args:
        settings: The schedule.
        reply: What the peer answered, or what stands for it.
        attempts: Attempts made, this one included; at least 1.
        give_up_at_ms: The deadline.
        now_ms: When the attempt ended.
        draw: Uniform in [0, 1), for the jitter.
    """
    if reply.permanent and reply.command not in _BEFORE_RCPT:
        return Bounce()
    if now_ms >= give_up_at_ms:
        return Expire()
    delay_ms = settings.delays_ms[min(attempts, len(settings.delays_ms)) - 1]
    return Retry(min(now_ms + jittered(delay_ms, draw), give_up_at_ms))
