"""How our topics are set up in a cluster: made, compared, mended (R5)."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from confluent_kafka import KafkaError, TopicCollection
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from connectors.log.kafka.asking import Asking
from connectors.log.kafka.settings import KafkaSettings
from sealwax import clock
from sealwax.model.topics import TopicSpec
from sealwax.policy.topic_layout import Found, Wanted, durability

_EXISTS = KafkaError.TOPIC_ALREADY_EXISTS
_HAS_THEM = KafkaError.INVALID_PARTITIONS
_UNKNOWN = KafkaError.UNKNOWN_TOPIC_OR_PART
_LOOK_EVERY_S = 0.05
_AS_IT_HAS_TO_BE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the cluster.

    Attributes:
        partitions: How many it has.
        incarnation: Its id, which no other topic ever has.
    """

    partitions: int
    incarnation: str


class Topics:
    """The topics of an installation. Thread-safe."""

    def __init__(self, settings: KafkaSettings, asking: Asking) -> None:
        self._settings = settings
        self._asking = asking
        self._known: dict[str, Topic] = {}
        self._pause = threading.Event()

    def wanted(self, specs: Iterable[TopicSpec]) -> dict[str, Wanted]:
        """What each topic has to be."""
        return {
            spec.name: Wanted(
                partitions=self._settings.partitions,
                compacted=spec.compacted,
                max_record_bytes=self._settings.max_record_bytes,
                replication=self._settings.replication,
            )
            for spec in specs
        }

    def create(
        self,
        specs: Iterable[TopicSpec],
        partitions: int | None = None,
        config: Mapping[str, str] = _AS_IT_HAS_TO_BE,
    ) -> list[str]:
        """Makes what is missing; the names of what was made here.

        Args:
            specs: The topics.
            partitions: How many; None for as many as those that are there have, and for what the
                settings say where there are none.
            config: Properties that differ from what they have to be in the end.
        """
        wanted = self.wanted(specs)
        there = self.look_up(list(wanted))
        missing = {name: want for name, want in wanted.items() if name not in there}
        if not missing:
            return []
        number = partitions or max((topic.partitions for topic in there.values()), default=0)
        requests = [
            NewTopic(
                self._settings.namespace + name,
                number or want.partitions,
                -1 if want.replication is None else want.replication,
                config={**want.config(want.replication or 1), **config},
            )
            for name, want in missing.items()
        ]
        self._asking.ask(
            lambda admin, seconds: admin.create_topics(requests, request_timeout=seconds), _EXISTS
        )
        self._wait_for(list(missing))
        self._make_durable(list(missing))
        return list(missing)

    def _make_durable(self, made: Sequence[str]) -> None:
        """Sets what depends on the number of copies, where it is the cluster that chose it."""
        if self._settings.replication is not None:
            return
        deadline, left = clock.monotonic() + self._settings.timeout_s, set(made)
        while left and clock.monotonic() < deadline:  # a broker may not have heard of all
            for name, found in self.describe(sorted(left)).items():
                left.discard(name)
                if config := durability(found.replication):
                    self.configure(name, config)
            if left:
                self._pause.wait(_LOOK_EVERY_S)

    def find(self, name: str) -> Topic:
        """A topic, as it was when it was first asked for. Raises KeyError for an unknown one."""
        if name not in self._known:
            found = self.look_up([name])
            if name not in found:
                raise KeyError(name)
            self._known[name] = found[name]
        return self._known[name]

    def look_up(self, names: Sequence[str]) -> dict[str, Topic]:
        """Those of the topics that exist."""
        return {
            name: Topic(len(described.partitions), str(described.topic_id))
            for name, described in self._described(names).items()
        }

    def describe(self, names: Sequence[str]) -> dict[str, Found]:
        """Those of the topics that exist, with everything that counts."""
        described = self._described(names)
        resources = [
            ConfigResource(ResourceType.TOPIC, self._settings.namespace + name)
            for name in described
        ]
        if not resources:
            return {}
        configs = self._asking.ask(
            lambda admin, seconds: admin.describe_configs(resources, request_timeout=seconds),
            _UNKNOWN,
        )
        found = {}
        for resource, config in configs.items():
            if config is None:
                continue  # deleted meanwhile
            name = resource.name.removeprefix(self._settings.namespace)
            found[name] = Found(
                partitions=len(described[name].partitions),
                replication=min(len(part.replicas) for part in described[name].partitions),
                config={key: entry.value or "" for key, entry in config.items()},
            )
        return found

    def replicas(self, names: Sequence[str]) -> dict[tuple[str, int], list[int]]:
        """By topic and partition number the ids of the brokers that keep a copy."""
        return {
            (name, part.id): [broker.id for broker in part.replicas]
            for name, described in self._described(names).items()
            for part in described.partitions
        }

    def racks(self) -> dict[int, str]:
        """The brokers by id, each with its rack; empty where it has none."""
        answer = self._asking.ask(
            lambda admin, seconds: {"": admin.describe_cluster(request_timeout=seconds)}
        )
        return {broker.id: broker.rack or "" for broker in answer[""].nodes}

    def grow(self, name: str, partitions: int) -> None:
        """Gives a topic more partitions."""
        full = self._settings.namespace + name
        request = [NewPartitions(full, partitions)]
        self._asking.ask(
            lambda admin, seconds: admin.create_partitions(request, request_timeout=seconds),
            _HAS_THEM,  # by a request before, whose answer was lost
        )
        self._known.pop(name, None)
        self._wait_for([name], partitions)

    def configure(self, name: str, config: Mapping[str, str]) -> None:
        """Sets some of a topic's properties and leaves the others alone.

        Brokers hear of it a moment later: it waits until the one that is asked has.
        """
        resource = ConfigResource(
            ResourceType.TOPIC,
            self._settings.namespace + name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in config.items()
            ],
        )
        self._asking.ask(
            lambda admin, seconds: admin.incremental_alter_configs(
                [resource], request_timeout=seconds
            )
        )
        deadline = clock.monotonic() + self._settings.timeout_s
        while clock.monotonic() < deadline:
            found = self.describe([name])
            if name in found and config.items() <= found[name].config.items():
                return
            self._pause.wait(_LOOK_EVERY_S)

    def _wait_for(self, names: Sequence[str], partitions: int = 0) -> None:
        """Until so many partitions are there, and the leaders of all are named."""
        deadline = clock.monotonic() + self._settings.timeout_s
        while clock.monotonic() < deadline:
            described = self._described(names)
            if len(described) == len(names) and all(
                len(topic.partitions) >= partitions
                and all(part.leader is not None for part in topic.partitions)
                for topic in described.values()
            ):
                return
            self._pause.wait(_LOOK_EVERY_S)

    def _described(self, names: Sequence[str]) -> dict[str, TopicDescription]:
        asked = TopicCollection([self._settings.namespace + name for name in names])
        answers = self._asking.ask(
            lambda admin, seconds: admin.describe_topics(asked, request_timeout=seconds), _UNKNOWN
        )
        return {
            name.removeprefix(self._settings.namespace): described
            for name, described in answers.items()
            if described is not None
        }
