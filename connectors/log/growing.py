"""Marks of a time when the topics had fewer partitions."""

from collections import Counter
from collections.abc import Sequence

from connectors.log.port import TopicPartition

Ends = tuple[int, ...]


def stretched(outputs: Sequence[TopicPartition], ends: Ends) -> Ends | None:
    """A mark of fewer partitions, for the outputs that there are now.

    Args:
        outputs: A flow's outputs: of some topics one partition, of the others all, in order.
        ends: What was committed.

    Returns:
        The ends, with 0 for partitions that came later, which were empty then; None where the mark
        is of another layout altogether.
    """
    counts = Counter(output.topic for output in outputs)
    whole = [topic for topic, count in counts.items() if count > 1]
    if not whole:
        return None
    fewer, rest = divmod(len(ends) - (len(counts) - len(whole)), len(whole))
    if rest or not 1 <= fewer < min(counts[topic] for topic in whole):
        return None
    left = iter(ends)
    return tuple(
        next(left) if counts[output.topic] == 1 or output.partition < fewer else 0
        for output in outputs
    )
