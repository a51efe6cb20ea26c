"""Work that must not go on beside the processes of a flow, wherever in the cluster they run."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import inf

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Place

from connectors.log.kafka.groups import MEMBERS, Member
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import LOST
from sealwax import clock
from sealwax.errors import ConfigurationError
from sealwax.model.topics import OWNERSHIP

_POLL_S = 0.1
_JOINS_IN = timedelta(seconds=10)
_LEAVES_IN = timedelta(seconds=2)
# While the work lasts, others wait: this member does not answer when it is asked for partitions.
_MOST_MS = 24 * 3_600_000
_LEAST_SESSION = timedelta(seconds=6)  # a broker takes no shorter one by default
_PROVE_EVERY_S = 1.0
_SPARE_S = 1.0


class _SoleMember:
    """A member of a flow's group that has all its partitions, and keeps them until it is closed."""

    def __init__(self, log: KafkaLog, flow: str, session: timedelta) -> None:
        self._wanted = set(range(log.partitions(OWNERSHIP)))
        self._owned: set[int] = set()
        self._has_all = False
        self._lost = False
        self._proven_at = -inf
        self._valid_until = -inf
        self._patience_s = log.settings.timeout.total_seconds()
        member = MemberSettings(flow, "", max(_LEAST_SESSION, session))
        self._valid_s = (member.session - member.heartbeat).total_seconds() - _SPARE_S
        self._released = threading.Event()
        self._consumer = Consumer({
            **log.settings.common(),
            "group.id": f"{log.settings.namespace}{flow}{MEMBERS}",
            "client.id": f"sealwax-{flow}-command",
            "session.timeout.ms": member.session // timedelta(milliseconds=1),
            "heartbeat.interval.ms": member.heartbeat // timedelta(milliseconds=1),
            "max.poll.interval.ms": _MOST_MS,
            # As the flow's own: a group has one.
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",  # nothing is read: the partitions are paused
            "allow.auto.create.topics": False,
        })  # fmt: skip
        self._topic = log.settings.namespace + OWNERSHIP
        self._consumer.subscribe(
            [self._topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
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

    def still(self) -> bool:
        """Waits until the group has said of late that all are this member's; whether it has.

        A command that stood still finds out so, before it does anything more, that others have
        them by now. For good: what they did meanwhile it does not know.
        """
        deadline = clock.monotonic() + self._patience_s
        while not self._lost and clock.monotonic() < deadline:
            if clock.monotonic() < self._valid_until:
                return True
            self._released.wait(_POLL_S)
        return False

    def close(self) -> None:
        """Leaves the group."""
        self._released.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._released.is_set():
            self._consumer.poll(_POLL_S)
            self._prove()

    def _prove(self) -> None:
        """A commit is taken from a member alone, as in Membership."""
        sent_at = clock.monotonic()
        if self._lost or sent_at - self._proven_at < _PROVE_EVERY_S:
            return
        self._proven_at = sent_at
        place = Place(self._topic, min(self._wanted), 0)
        try:
            answers = self._consumer.commit(offsets=[place], asynchronous=False) or []
            error = answers[0].error if answers else None
        except KafkaException as raised:
            error = raised.args[0]
        if error is None:
            self._valid_until = sent_at + self._valid_s
        elif error.code() in LOST:
            self._lost = True  # other errors pass: no coordinator, a member that joins meanwhile

    def _assign(self, consumer: Consumer, places: list[Place]) -> None:
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        self._owned.update(place.partition for place in places)

    def _revoke(self, consumer: Consumer, places: list[Place]) -> None:
        while self._has_all and not self._lost and not self._released.wait(_POLL_S):
            self._prove()
        self._give_up(places)
        consumer.incremental_unassign(places)

    def _lose(self, _consumer: Consumer, places: list[Place]) -> None:
        """The group has put this member out."""
        self._lost = self._has_all
        self._give_up(places)

    def _give_up(self, places: list[Place]) -> None:
        self._owned.difference_update(place.partition for place in places)


@contextmanager
def alone(log: KafkaLog, flow: str, session: timedelta) -> Iterator[Callable[[], bool]]:
    """Keeps the processes of a flow out, on every machine, while the block runs.

    Gives what the block asks before each step that must not be done beside others: it waits until
    that is sure, and says whether it is.

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
        yield member.still
    finally:
        member.close()


def _runs_elsewhere(flow: str, members: list[Member]) -> ConfigurationError:
    named = [f"at {member.address} ({member.instance or 'a command'})" for member in members]
    return ConfigurationError(
        f"{flow} runs elsewhere on this Kafka cluster, {', '.join(named)}: stop it there first"
    )
