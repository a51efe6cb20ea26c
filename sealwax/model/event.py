"""What can happen to an email: the words of events, timelines and stats."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of an event; one row in ClickHouse is one of them."""

    ACCEPTED = "accepted"
    RENDERED = "rendered"
    WAITED = "waited"
    ATTEMPTED = "attempted"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    REJECTED = "rejected"
    SCHEDULED = "scheduled"
    CANCELED = "canceled"
    DEDUPLICATED = "deduplicated"
    FAILED = "failed"  # we could not process it: it stands in `email.dead`


TERMINAL = frozenset(
    {
        Kind.DELIVERED,
        Kind.BOUNCED,
        Kind.EXPIRED,
        Kind.SUPPRESSED,
        Kind.REJECTED,
        Kind.FAILED,
    }
)


class Cause(StrEnum):
    """Why an email waited. Every wait has one."""

    QUEUE = "queue"  # between two of our own steps: rendering, reading, handing over
    RATE = "rate"
    CONNECTIONS = "connections"
    RETRY = "retry"
    DNS = "dns"


@dataclass(frozen=True, slots=True)
class Wait:
    """One stretch of waiting.

    Attributes:
        cause: Why.
        rule: Id of the rule or setting that made it wait; names the site where there is one.
        ms: How long, in milliseconds.
    """

    cause: Cause
    rule: str
    ms: int
