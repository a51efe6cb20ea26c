"""What a look at the log says of the flows, whether they run or not; it changes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from connectors.log.flow_spec import FlowSpec, is_read_back_group
from connectors.log.lost import MADE_ANEW, fitting, lives_of, made_anew, why_stopped
from connectors.log.port import Committed, Log, TopicPartition
from connectors.log.settle import Stand, decode_stand
from connectors.smtp.leases import lease_of
from sealwax.errors import UnreadableRecordError
from sealwax.model import topics


class Unsettled(NamedTuple):
    """What a flow has not settled.

    Attributes:
        flow: The flow.
        records: How many.
        oldest_ms: When the oldest was appended, milliseconds since 1970; None where it is gone.
    """

    flow: str
    records: int
    oldest_ms: int | None


def partitions_of(log: Log, *names: str) -> list[TopicPartition]:
    """All partitions of these topics. Raises KeyError for an unknown one."""
    return [TopicPartition(name, n) for name in names for n in range(log.partitions(name))]


def unsettled(log: Log) -> Iterator[Unsettled]:
    """By flow what it has not settled, where there is something."""
    every = partitions_of(log, *(spec.name for spec in topics.ALL))
    starts, ends = log.start_offsets(every), log.end_offsets(every)
    for flow in log.groups():
        if is_read_back_group(flow):
            continue
        positions = {
            tp: max(at.offset, starts[tp])
            for tp, at in log.committed_all(flow, every).items()
            if at is not None and at.offset < ends[tp]
        }
        firsts = log.scan_all({tp: (at, at + 1) for tp, at in positions.items()})
        oldest_ms = min((record.stamp_ms for record in firsts), default=None)
        records = sum(ends[tp] - at for tp, at in positions.items())
        if records:
            yield Unsettled(flow, records, oldest_ms)


def leases(log: Log) -> int:
    """How many leases dispatch has not settled."""
    retries = partitions_of(log, *topics.RETRY)
    starts, ends = log.start_offsets(retries), log.end_offsets(retries)
    committed = log.committed_all("dispatch", retries)
    ranges = {tp: (at.offset if at else starts[tp], ends[tp]) for tp, at in committed.items()}
    return sum(lease_of(record) is not None for record in log.scan_all(ranges))


def stopped(log: Log, spec: FlowSpec) -> dict[TopicPartition, str]:
    """The partitions that a start of the flow would not read on, and why (R4)."""
    sources = partitions_of(log, *sorted(spec.shares))
    outputs = {number: tuple(spec.outputs(number)) for number in {tp.partition for tp in sources}}
    every = {*sources, *(output for some in outputs.values() for output in some)}
    bounds = log.start_offsets(every), log.end_offsets(every)
    found = {}
    for tp, committed in log.committed_all(spec.name, sources).items():
        outputs_of = outputs[tp.partition]
        stand = _stand(committed, outputs_of, bounds[0])
        lives = lives_of(log, tp, outputs_of) if stand and stand.lives else b""
        reason = why_stopped(tp, committed, stand, lives, outputs_of, bounds)
        if committed is None and tp.topic in made_anew(log, spec.name, outputs_of):
            reason = MADE_ANEW
        if reason:
            found[tp] = reason
    return found


def _stand(
    committed: Committed | None,
    outputs: Sequence[TopicPartition],
    firsts: Mapping[TopicPartition, int],
) -> Stand | None:
    try:
        stand = decode_stand(committed.metadata) if committed else None
    except UnreadableRecordError:
        return None
    return stand and fitting(stand, outputs, firsts)
