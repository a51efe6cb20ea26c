"""Committed positions, as every Kafka tool shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place

from connectors.log.kafka.asking import Asking
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import Committed, TopicPartition

_MOST_METADATA = 3_000  # a broker takes 4,096 bytes by default
MEMBERS = "-members"


@dataclass(frozen=True, slots=True)
class Member:
    """A process in the group of a flow.

    Attributes:
        instance: Names it over its restarts; empty for a command, which has one life.
        address: Where the brokers see it.
        numbers: The partition numbers that it owns.
    """

    instance: str
    address: str
    numbers: tuple[int, ...]


class Groups:
    """The offsets of groups that nobody subscribes with. Thread-safe."""

    def __init__(self, settings: KafkaSettings, asking: Asking) -> None:
        self._namespace = settings.namespace
        self._asking = asking

    def commit(self, group: str, positions: Mapping[TopicPartition, Committed]) -> None:
        """Commits positions in one request.

        Raises:
            ValueError: Metadata is too long; nothing is committed.
            LogAwayError: The group's coordinator did not take it.
        """
        if any(len(at.metadata.encode()) > 4_096 or len(at.metadata) > _MOST_METADATA for at in positions.values()):  # fmt: skip # noqa: E501, PLR2004
            raise ValueError(f"metadata is longer than {_MOST_METADATA} characters")
        places = [
            Place(self._namespace + tp.topic, tp.partition, at.offset, at.metadata)
            for tp, at in positions.items()
        ]
        request = [ConsumerGroupTopicPartitions(self._namespace + group, places)]
        self._asking.ask(
            lambda admin, seconds: admin.alter_consumer_group_offsets(
                request, request_timeout=seconds
            ),
            check=_check_places,
        )

    def committed(
        self, group: str, tps: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        """What the group committed last, in one request."""
        if not tps:
            return {}
        places = [Place(self._namespace + tp.topic, tp.partition) for tp in tps]
        request = [ConsumerGroupTopicPartitions(self._namespace + group, places)]
        (answer,) = self._asking.ask(
            lambda admin, seconds: admin.list_consumer_group_offsets(
                request, request_timeout=seconds, require_stable=True
            ),
            check=_check_places,
        ).values()
        found: dict[TopicPartition, Committed | None] = dict.fromkeys(tps)
        for place in answer.topic_partitions:
            if place.offset >= 0:
                tp = TopicPartition(place.topic.removeprefix(self._namespace), place.partition)
                found[tp] = Committed(place.offset, place.metadata or "")
        return found

    def members(self, flow: str) -> list[Member]:
        """The processes in the group of a flow, by the lowest of their numbers."""
        group = f"{self._namespace}{flow}{MEMBERS}"
        (described,) = self._asking.ask(
            lambda admin, seconds: admin.describe_consumer_groups([group], request_timeout=seconds),
            KafkaError.GROUP_ID_NOT_FOUND,
        ).values()
        members = [
            Member(
                member.group_instance_id or "",
                (member.host or "").lstrip("/"),
                tuple(sorted(place.partition for place in member.assignment.topic_partitions))
                if member.assignment
                else (),
            )
            for member in (described.members if described else ())
        ]
        return sorted(members, key=lambda member: (member.numbers, member.instance))

    def names(self) -> list[str]:
        """All groups but those of members."""
        (listed,) = self._asking.ask(
            lambda admin, seconds: {"": admin.list_consumer_groups(request_timeout=seconds)}
        ).values()
        names = [group.group_id for group in listed.valid]
        return [
            name.removeprefix(self._namespace)
            for name in names
            if name.startswith(self._namespace) and not name.endswith(MEMBERS)
        ]


def _check_places(answer: ConsumerGroupTopicPartitions) -> None:
    """A coordinator that moves or loads says so for each partition."""
    for place in answer.topic_partitions or ():
        if place.error is not None:
            raise KafkaException(place.error)
