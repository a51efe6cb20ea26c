"""What passes between the log, the lanes and the SMTP engine."""

from typing import NamedTuple

from sealwax.model.delivery import Delivery, Position
from sealwax.model.event import Kind, Wait
from sealwax.policy.classify.fates import Classified
from sealwax.smtp.engine import Result


class Queued(NamedTuple):
    """A message that was read and waits for an attempt.

    Attributes:
        site: The lane that it waits in; empty until that is looked up.
        delivery: The message.
        source: The record to settle.
        due_ms: Until when it may wait in memory whatever its `not_before_ms` is: the end of its
            time in a delay topic whose records are read at once; 0 for every other topic.
        in_doubt: An attempt at it was lost with its process, and may have delivered it.
        asked_ms: When its site was asked for, wall clock; 0 where that was known.
    """

    site: str
    delivery: Delivery
    source: Position
    due_ms: int = 0
    in_doubt: bool = False
    asked_ms: int = 0


class Terms(NamedTuple):
    """How a connection is used that is opened for a message; 0 where the settings say it.

    Attributes:
        most_messages: Messages on it.
        most_connections: Connections that are tried for the message.
        idle_s: How long it is kept without a message.
    """

    most_messages: int = 0
    most_connections: int = 0
    idle_s: float = 0.0


class Send(NamedTuple):
    """A lane's decision: hand this message to a session.

    Attributes:
        queued: The message.
        attempt: Number of the attempt, from 1.
        waits: Its waits since the last stored outcome.
        granted_ms: When the lane decided, wall clock.
        limits: The limits in force, for the outcome.
        permits: How many connections the site may have more than before.
        terms: For its connection.
    """

    queued: Queued
    attempt: int
    waits: tuple[Wait, ...]
    granted_ms: int
    limits: tuple[tuple[str, str], ...]
    permits: int = 1
    terms: Terms = Terms()


class Attempted(NamedTuple):
    """A session is done with a message.

    Attributes:
        send: What it was given.
        result: What came of it. Where it was accepted the outcome is durable already.
        attempt_id: The session that waits for the outcome to become durable.
    """

    send: Send
    result: Result
    attempt_id: int


class Tick(NamedTuple):
    """Time has come for something that a lane planned."""

    site: str


class Freed(NamedTuple):
    """So many connections of a site are gone; those that came to nothing count too."""

    connections: int


class LetGo(NamedTuple):
    """A lane's decision: end the site's connections that have no message, others wait for them."""

    site: str


class Verdict(NamedTuple):
    """A lane's decision after an attempt that did not deliver.

    Attributes:
        kind: deferred, bounced or expired.
        attempted: The attempt.
        classified: What its reply means.
        not_before_ms: When a deferred message may be tried again.
    """

    kind: Kind
    attempted: Attempted
    classified: Classified
    not_before_ms: int = 0


class Postpone(NamedTuple):
    """A lane's decision: wait in a delay topic, without an attempt.

    Attributes:
        queued: The message.
        waits: Its waits since the last stored outcome.
        at_ms: When the lane decided, wall clock.
        not_before_ms: When it may be sent.
    """

    queued: Queued
    waits: tuple[Wait, ...]
    at_ms: int
    not_before_ms: int


Fact = Queued | Attempted | Freed | Tick
Decision = Send | Verdict | Postpone | LetGo
