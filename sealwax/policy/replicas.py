"""Which further brokers keep a partition that has too few copies (R5)."""

from collections import Counter
from collections.abc import Mapping, Sequence

Partition = tuple[str, int]


def reassigned(
    assigned: Mapping[Partition, Sequence[int]], racks: Mapping[int, str], copies: int
) -> dict[Partition, tuple[int, ...]]:
    """The brokers of each partition that has too few copies, the present ones first.

    Args:
        assigned: By partition the brokers that keep it now.
        racks: The brokers, each with its rack; empty where it has none.
        copies: How many brokers a partition needs; not more than there are.
    """
    kept = Counter(broker for brokers in assigned.values() for broker in brokers)
    out = {}
    for partition, present in sorted(assigned.items()):
        if len(present) >= copies:
            continue
        brokers = list(present)
        while len(brokers) < copies:
            used = {racks.get(broker, "") for broker in brokers}
            added = min(
                racks.keys() - set(brokers),
                key=lambda broker: (racks[broker] in used, kept[broker], broker),
            )
            kept[added] += 1
            brokers.append(added)
        out[partition] = tuple(brokers)
    return out
