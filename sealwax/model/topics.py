"""The topics of the log: their names, and which of them are compacted."""

from dataclasses import dataclass
from enum import StrEnum


class Stream(StrEnum):
    """What a submission is for; decides its topics, so that one never queues behind the other."""

    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


STREAMS = tuple(Stream)

# The delay topics of R6, by name and by the time that a record spends in one.
RETRY_DELAYS_MS = {"10s": 10_000, "1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000}

EVENTS = "email.events"
CONTROL = "email.control"
DEAD = "email.dead"
BODY = "email.body"  # values too large for a record, in chunks
OWNERSHIP = "email.ownership"  # on Kafka: who works on which partition number, by flow


def requested(stream: Stream) -> str:
    """The topic of submissions that wait to be rendered."""
    return f"email.requested.{stream}"


def ready(stream: Stream) -> str:
    """The topic of messages that wait for their first attempt."""
    return f"email.ready.{stream}"


def retry(stream: Stream, delay: str) -> str:
    """The delay topic of a stream; `delay` is a key of RETRY_DELAYS_MS."""
    return f"email.retry.{stream}.{delay}"


def stream_of(topic: str) -> Stream:
    """The stream of a requested, ready or delay topic."""
    return Stream(topic.split(".")[2])


REQUESTED = tuple(requested(s) for s in STREAMS)
READY = tuple(ready(s) for s in STREAMS)
RETRY = tuple(retry(s, d) for s in STREAMS for d in RETRY_DELAYS_MS)

# Delay of each delay topic, in milliseconds.
DELAY_OF = {retry(s, d): ms for s in STREAMS for d, ms in RETRY_DELAYS_MS.items()}

# Records of the shortest delay topics are read at once and wait in the lane, in memory.
READ_AT_ONCE = tuple(retry(s, "10s") for s in STREAMS)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is created.

    Attributes:
        name: Its name.
        compacted: Whether only the last record of each key is kept.
    """

    name: str
    compacted: bool = False


ALL = (
    *(TopicSpec(name) for name in (*REQUESTED, *READY, *RETRY, EVENTS, DEAD, BODY)),
    TopicSpec(CONTROL, compacted=True),
)

# What a Kafka cluster has besides.
ALL_OF_KAFKA = (*ALL, TopicSpec(OWNERSHIP, compacted=True))
