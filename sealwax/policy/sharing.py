"""One limit shared by several processes: what each may do while the shared counter is away (R13).

Times are milliseconds on a monotonic clock.
"""

from dataclasses import dataclass
from zlib import crc32

from sealwax.policy.throttle import Rate

# How long a process keeps the permits that it was granted when it cannot renew them.
PERMITS_MS = 15_000
RENEWED_AFTER_MS = 5_000
# Permits that were not used for so long go back.
UNUSED_MS = 1_000
# A token is granted at most so long before it may be used, and is void so long after that: so a
# lease of tokens is at most one second of the rate, and void after two.
AHEAD_MS = 1_000
LATE_MS = 1_000
# How much of a rate the processes that want it hold ahead, all together.
STOCK_MS = 500
# A process shows itself at least so often: it sees the others, and learns of a lost memory.
SHOWN_AFTER_MS = 1_000
# When it does not answer a process goes on by itself after so long: what it was granted is void by
# then. What all did meanwhile is not counted.
ALONE_AFTER_MS = AHEAD_MS + LATE_MS
# While it does not answer it is asked again so often; less than it is silent when it comes back.
RETRY_MS = 500
# A counter that nobody has called for so long counts as one that has lost its memory: shorter than
# a lease that was just not renewed.
FORGETS_MS = 5_000
# A counter that has lost its memory grants nothing for this long and a call's timeout: what was
# granted before ends, or is told again, meanwhile.
SILENT_MS = 2_000
# What cannot be divided goes to another process after so long.
TURN_MS = 15_000
# A process that never saw the counter takes this part of a rate, and one permit.
_UNSEEN_PART = 16


@dataclass(frozen=True, slots=True)
class Standing:
    """What a process knows of the others.

    Attributes:
        away_since_ms: Since when the counter does not answer; None while it does.
        members: Processes as last seen, this one included; 0 where the counter was never seen.
        rank: This one's place among them, from 0.
    """

    away_since_ms: float | None
    members: int = 0
    rank: int = 0

    def place(self, name: str) -> int:
        """The rank in the order that holds for one limit: not the same process is always first."""
        return (self.rank + crc32(name.encode())) % self.members


def share(most: int, name: str, standing: Standing) -> int:
    """The permits of a limit that a process may use without asking.

    Over all members they come to exactly `most`: what cannot be divided goes to the first by the
    name's own order, so that with more members than permits some have none.
    """
    if not standing.members:
        return 1
    whole, rest = divmod(most, standing.members)
    return whole + (standing.place(name) < rest)


def permits_alone(most: int, name: str, held: int, standing: Standing, now_ms: float) -> int:
    """The permits that a process may use while the counter is away.

    At first of those that it holds at most its share; when every other process has let go of what
    it held above its own, the whole share.
    """
    own = share(most, name, standing)
    since_ms = standing.away_since_ms
    if not standing.members or since_ms is None or now_ms - since_ms >= PERMITS_MS:
        return own
    return min(own, held)


def rate_alone(rate: Rate, name: str, standing: Standing) -> tuple[Rate, float]:
    """The rate that a process may take while the counter is away, and its first horizon.

    It starts when the tokens that were granted before are void. The slots of the members lie
    between each other as long as each is taken when it comes.
    """
    since_ms = standing.away_since_ms or 0.0
    if not standing.members:
        return Rate(rate.period_ms * _UNSEEN_PART), since_ms
    alone = Rate(rate.period_ms * standing.members, max(1, rate.burst // standing.members))
    slack_ms = alone.period_ms * (alone.burst - 1)
    first_ms = since_ms + ALONE_AFTER_MS + standing.place(name) * rate.period_ms
    return alone, first_ms + slack_ms
