"""What render and dispatch read of the log, and where their outcomes go."""

from connectors.log.flow_spec import FlowSpec
from connectors.log.port import Log, Record, TopicPartition, size_of
from sealwax.mail.submission import SubmissionLimits
from sealwax.model import topics

_MOST_RECIPIENTS = SubmissionLimits().max_recipients
# A ready topic gets as much of the reading window as all delay topics of its stream together.
_SHARES_OF_DISPATCH = dict.fromkeys(topics.READY, 5) | dict.fromkeys(topics.RETRY, 1)
_OUTPUTS_OF_DISPATCH = (topics.EVENTS, topics.DEAD, *topics.RETRY)
# Delay topics whose records are read at once and wait in the lane (R6).
NOT_HELD = {topic: topics.DELAY_OF[topic] for topic in topics.READ_AT_ONCE}


def render(log: Log) -> FlowSpec:
    """What render reads, and where its outcomes go: ready records go by the recipient's domain."""
    return FlowSpec(
        name="render",
        shares=dict.fromkeys(topics.REQUESTED, 1),
        outputs=lambda number: [
            TopicPartition(topics.EVENTS, number),
            TopicPartition(topics.DEAD, number),
            *(TopicPartition(t, n) for t in topics.READY for n in range(log.partitions(t))),
        ],
        window_records=2_000,
        window_bytes=32 * 1024 * 1024,
        weight=rendered_bytes,
    )


def rendered_bytes(request: Record) -> int:
    """What a request may become, about: a message for each recipient.

    Not parsed here: it has one address for each of them, and the author's; JSON may hide an @.
    """
    value = request.value or b""
    addresses = value.count(b"@") + value.count(b"\\u0040")
    return size_of(request) + len(value) * min(max(0, addresses - 2), _MOST_RECIPIENTS - 1)


def dispatch() -> FlowSpec:
    """What dispatch reads, where its outcomes go, and how long delay topics hold their records."""
    return FlowSpec(
        name="dispatch",
        shares=_SHARES_OF_DISPATCH,
        outputs=lambda number: [TopicPartition(topic, number) for topic in _OUTPUTS_OF_DISPATCH],
        hold_ms={topic: ms for topic, ms in topics.DELAY_OF.items() if topic not in NOT_HELD},
    )
