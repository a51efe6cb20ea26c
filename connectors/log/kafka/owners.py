"""Which process owns which partition numbers of a flow, as the cluster knows it."""

from typing import NamedTuple

from connectors.log.kafka.log import KafkaLog
from connectors.log.port import TopicPartition
from sealwax.model.topics import OWNERSHIP


class Owner(NamedTuple):
    """A process in the group of a flow.

    Attributes:
        flow: The flow.
        numbers: The partition numbers that it owns.
        host: The name of its machine; its address where it has not said that yet.
        instance: Names the process over its restarts.
    """

    flow: str
    numbers: tuple[int, ...]
    host: str
    instance: str


def owners(log: KafkaLog, *flows: str) -> list[Owner]:
    """The processes of these flows, wherever they run."""
    members = [(flow, member) for flow in flows for member in log.processes(flow)]
    hosts = _hosts(log) if members else {}
    return [
        Owner(flow, member.numbers, hosts.get(member.instance, member.address), member.instance)
        for flow, member in members
    ]


def _hosts(log: KafkaLog) -> dict[str, str]:
    """By instance the machine that it last ran on."""
    tps = [TopicPartition(OWNERSHIP, number) for number in range(log.partitions(OWNERSHIP))]
    starts, ends = log.start_offsets(tps), log.end_offsets(tps)
    said = {}
    for record in log.scan_all({tp: (starts[tp], ends[tp]) for tp in tps}):
        host, _, instance = (record.value or b"").decode("utf-8", "replace").partition(" ")
        said[record.stamp_ms, instance] = host
    return {instance: host for (_, instance), host in sorted(said.items())}
