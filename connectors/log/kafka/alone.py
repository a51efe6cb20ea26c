"""Work that must not go on beside the processes of a flow, wherever in the cluster they run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place

from connectors.log.kafka.groups import MEMBERS, Member
from connectors.log.kafka.log import KafkaLog
from sealwax import clock
from sealwax.errors import ConfigurationError
from sealwax.model.topics import OWNERSHIP

_POLL_S = 0.1
_JOINS_IN = timedelta(seconds=10)
_LEAVES_IN = timedelta(seconds=2)
# While the work lasts, others wait: this member does not answer when it is asked for partitions.
_MOST_MS = 24 * 3_600_000
_LEAST_SESSION_MS = 6_000  # a broker takes no shorter one by default


class _SoleMember:
    """A member of a flow's group that has all its partitions, and keeps them until it is closed."""

    def __init__(self, log: KafkaLog, flow: str, session: timedelta) -> None:
        self._wanted = set(range(log.partitions(OWNERSHIP)))
        self._owned: set[int] = set()
        self._has_all = False
        self._released = threading.Event()
        self._consumer = Consumer({
            **log.settings.common(),
            "group.id": f"{log.settings.namespace}{flow}{MEMBERS}",
            "client.id": f"sealwax-{flow}-command",
            "session.timeout.ms": max(_LEAST_SESSION_MS, session // timedelta(milliseconds=1)),
            "max.poll.interval.ms": _MOST_MS,
            # As the flow's own: a group has one.
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",  # nothing is read: the partitions are paused
            "allow.auto.create.topics": False,
        })  # fmt: skip
        topic = log.settings.namespace + OWNERSHIP
        self._consumer.subscribe(
            [topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
        )
        self._thread = threading.Thread(target=self._run, name="alone", daemon=True)

    def has_all_within(self, patience: timedelta) -> bool:
        """Whether the group gave it all partitions in that time; then it keeps them."""
        deadline = clock.monotonic() + patience.total_seconds()
        while self._owned != self._wanted and clock.monotonic() < deadline:
            self._consumer.poll(_POLL_S)
        self._has_all = self._owned == self._wanted
        self._thread.start()
        return self._has_all

    def close(self) -> None:
        """Leaves the group."""
        self._released.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._released.is_set():
            self._consumer.poll(_POLL_S)

    def _assign(self, consumer: Consumer, places: list[Place]) -> None:
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._owned.update(place.partition for place in places)

    def _revoke(self, consumer: Consumer, places: list[Place]) -> None:
        if self._has_all:
            self._released.wait()
        self._lose(consumer, places)
        consumer.incremental_unassign(places)

    def _lose(self, _consumer: Consumer, places: list[Place]) -> None:
        self._owned.difference_update(place.partition for place in places)


@contextmanager
def alone(log: KafkaLog, flow: str, session: timedelta) -> Iterator[None]:
    """Keeps the processes of a flow out, on every machine, while the block runs.

    Args:
        log: The log.
        flow: The flow, or a name that only commands have.
        session: How long a process that has ended stays in its group.

    Raises:
        ConfigurationError: Some run; says where.
        LogAwayError: Kafka does not answer.
    """
    # A process that runs is not asked for its partitions: it would start anew for that.
    deadline = clock.monotonic() + (session + _LEAVES_IN).total_seconds()
    pause = threading.Event()
    while others := log.processes(flow):
        if clock.monotonic() > deadline:
            raise _runs_elsewhere(flow, others)
        pause.wait(_POLL_S)
    member = _SoleMember(log, flow, session)
    try:
        if not member.has_all_within(_JOINS_IN):
            raise _runs_elsewhere(flow, log.processes(flow))
        yield
    finally:
        member.close()


def _runs_elsewhere(flow: str, members: list[Member]) -> ConfigurationError:
    named = [f"at {member.address} ({member.instance or 'a command'})" for member in members]
    return ConfigurationError(
        f"{flow} runs elsewhere on this Kafka cluster, {', '.join(named)}: stop it there first"
    )
