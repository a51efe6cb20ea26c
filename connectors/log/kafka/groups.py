"""Committed positions, as every Kafka tool shows them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
)
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from connectors.log.kafka.asking import Asking, passes
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import MOST_METADATA_BYTES, Committed, TopicPartition
from sealwax import clock
from sealwax.errors import LogAwayError

_AGAIN_AFTER_S = 0.1
_TRY_S = 5.0
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
        self._timeout_s = settings.timeout_s
        self._common = settings.common()
        self._asking = asking
        self._pause = threading.Event()

    def commit(self, group: str, positions: Mapping[TopicPartition, Committed]) -> None:
        """Commits positions in one request.

        Raises:
            ValueError: Metadata is too long; nothing is committed.
            LogAwayError: The group's coordinator did not take it.
        """
        if any(len(at.metadata.encode()) > MOST_METADATA_BYTES for at in positions.values()):
            raise ValueError(f"metadata is longer than {MOST_METADATA_BYTES} bytes")
        places = [
            Place(self._namespace + tp.topic, tp.partition, at.offset, at.metadata)
            for tp, at in positions.items()
        ]
        request = [ConsumerGroupTopicPartitions(self._namespace + group, places)]
        self._answer(
            lambda admin, seconds: admin.alter_consumer_group_offsets(
                request, request_timeout=seconds
            ),
            f"the offsets of {group} were not committed",
        )

    def committed(
        self, group: str, tps: Sequence[TopicPartition]
    ) -> dict[TopicPartition, Committed | None]:
        """What the group committed last, in one request.

        By a consumer of the group, which joins nothing: an admin client ends the process where the
        coordinator has moved, since it has no group of its own to look it up for (librdkafka 2.16,
        rd_kafka_handle_OffsetFetch).

        Raises:
            LogAwayError: The group's coordinator did not answer.
        """
        if not tps:
            return {}
        places = self._fetched(
            group, [Place(self._namespace + tp.topic, tp.partition) for tp in tps]
        )
        found: dict[TopicPartition, Committed | None] = dict.fromkeys(tps)
        for place in places:
            if place.offset >= 0:
                tp = TopicPartition(place.topic.removeprefix(self._namespace), place.partition)
                found[tp] = Committed(place.offset, place.metadata or "")
        return found

    def _fetched(self, group: str, places: list[Place]) -> list[Place]:
        deadline = clock.monotonic() + self._timeout_s
        consumer = Consumer(
            {**self._common, "group.id": self._namespace + group, "enable.auto.commit": False}
        )
        try:
            while True:
                answered, error = _asked(consumer, places)
                if error is None:
                    return answered
                if not passes(error) or clock.monotonic() >= deadline:
                    raise LogAwayError(f"the offsets of {group} are not known: {error}")
                self._pause.wait(_AGAIN_AFTER_S)
        finally:
            consumer.close()

    def _answer(
        self, request: Callable[[AdminClient, float], Mapping[str, Future[Any]]], problem: str
    ) -> list[Place]:
        """The answer about one group; errors of single partitions pass too (a coordinator loads).

        Raises:
            LogAwayError: With what the problem is.
        """
        deadline = clock.monotonic() + self._timeout_s
        while True:
            (answer,) = self._asking.ask(request).values()
            places: list[Place] = answer.topic_partitions
            error = next((place.error for place in places if place.error is not None), None)
            if error is None:
                return places
            if not passes(error) or clock.monotonic() >= deadline:
                raise LogAwayError(f"{problem}: {error}")
            self._pause.wait(_AGAIN_AFTER_S)

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

    def processes(self, flow: str) -> list[Member]:
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

    def working(self) -> list[str]:
        """The groups of members that have one."""
        (listed,) = self._asking.ask(
            lambda admin, seconds: {"": admin.list_consumer_groups(request_timeout=seconds)}
        ).values()
        idle = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
        return [
            group.group_id.removeprefix(self._namespace)
            for group in listed.valid
            if group.group_id.startswith(self._namespace)
            and group.group_id.endswith(MEMBERS)
            and group.state not in idle
        ]


def _asked(consumer: Consumer, places: list[Place]) -> tuple[list[Place], KafkaError | None]:
    """What a group committed of some places, or an error."""
    try:
        answered = consumer.committed(places, _TRY_S)
    except KafkaException as error:
        return [], error.args[0]
    return answered, next((place.error for place in answered if place.error), None)
