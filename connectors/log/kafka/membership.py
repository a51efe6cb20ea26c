"""Who may work on which partition numbers of a flow, by membership in a group (R3)."""

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from math import ceil, inf
from types import MappingProxyType

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from typing_extensions import override

from connectors.log.fences import Writer
from connectors.log.kafka.groups import MEMBERS
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import Entry, Log, Ownership, TopicPartition
from sealwax import clock
from sealwax.errors import LogAwayError
from sealwax.model.topics import OWNERSHIP

_POLL_S = 0.1
_PROVE_EVERY_S = 1.0
_SPARE_S = 1.0
# Assignments come in steps while others join: what is there after so long without one is it.
_SETTLED_S = 1.0
# Longer than the answer to a proof takes; what comes later proves nothing any more.
_ANSWERS_IN_S = 60.0
# A process that does not ask for that long is stuck, and leaves.
_MAX_POLL_MS = 30_000
# A revoked partition is drained within it; a stuck process would be put out after _MAX_POLL_MS.
DRAIN = timedelta(seconds=20)
# After a revocation the group is asked once more before this process starts anew, so that the
# others get what was given up: a static member that comes back triggers nothing.
_HANDED_ON_S = 5.0
_SAY_AFTER_S = 5.0
_LOOK_S = 2.0
_AT_ONCE = 1_000
_NOTHING: Mapping[int, int] = MappingProxyType({})
_FATAL = KafkaError._FATAL  # noqa: SLF001 - a public code with a private name
# A member that was put out, by the answer to its commit.
LOST = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID})

logger = structlog.get_logger(__name__)


class Membership(Ownership):
    """Partition numbers by the assignment of a consumer group that reads nothing.

    The numbers of a process never change: `on_changed` is called once where they would have to, and
    the process drains, closes this, and starts anew. While the group cannot be reached
    `valid_until` passes, and nothing is sent until it answers.
    """

    def __init__(
        self,
        log: Log,
        settings: KafkaSettings,
        member: MemberSettings,
        *,
        on_changed: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Joins the group.

        Args:
            log: Where the owner of a number says that it is.
            settings: The cluster.
            member: Who joins.
            on_changed: Called where other numbers are assigned than `acquire` returned.
            on_lost: Called where the group has put this process out: it must end at once.
        """
        self._log = log
        self._member = member
        self._on_changed = on_changed
        self._on_lost = on_lost
        self._topic = settings.namespace + OWNERSHIP
        self._lock = threading.Lock()
        self._assigned: set[int] = set()
        self._most = inf
        self._owned: frozenset[int] | None = None
        self._changed_at = inf
        self._assignments = 0
        self._change_told = False
        self._revoking = False
        self._in_question = False
        self._take_name_back: Callable[[], None] | None = None
        self._writers: dict[int, Writer] = {}
        self._valid_until = -inf
        self._asked = 0  # proofs of membership, numbered
        self._asked_at: dict[int, float] = {}
        self._closing = threading.Event()
        self._released = threading.Event()
        self._left = False
        self._may_have_grown = False
        self._properties = {
            **settings.common(),
            "group.id": f"{settings.namespace}{member.flow}{MEMBERS}",
            "group.instance.id": member.instance,
            "client.id": f"sealwax-{member.flow}",
            "session.timeout.ms": int(member.session.total_seconds() * 1_000),
            "heartbeat.interval.ms": int(member.heartbeat.total_seconds() * 1_000),
            # The client takes no shorter one.
            "max.poll.interval.ms": max(_MAX_POLL_MS, member.session // timedelta(milliseconds=1)),
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "on_commit": self._on_commit,
            "auto.offset.reset": "latest",  # nothing is read: the partitions are paused
            "allow.auto.create.topics": False,
        }
        self._consumer = self._join()
        # One thread for all: the client lets nobody in while another one polls.
        self._thread = threading.Thread(target=self._run, name="member", daemon=True)
        self._thread.start()

    @override
    def acquire(self, wanted: Sequence[int]) -> Sequence[int]:
        """Waits until the group has assigned some numbers and membership is proven.

        A process of a cluster waits while it has more than its share of them: the others are not
        there yet, and its numbers would change as soon as they come.
        """
        # A life of the same instance before this one is not waited for: it held the locks of the
        # data directory until it ended, and a copy of the directory has another name.
        if self._member.processes > 1:
            self._most = ceil(len(wanted) / self._member.processes)
        pause = threading.Event()
        began_at, said = clock.monotonic(), False
        while not self._is_settled():
            pause.wait(_POLL_S)
            if not said and clock.monotonic() - began_at > _SAY_AFTER_S:
                logger.info("waiting for partitions: others own them all, or Kafka is away")
                said = True
        with self._lock:
            self._owned = frozenset(wanted if self._member.alone else self._assigned)
        return sorted(self._owned)

    def writers(self, above: Mapping[int, int] = _NOTHING) -> dict[int, Writer]:
        """By owned number this process's incarnation: the offset of its record of ownership.

        Args:
            above: By number an incarnation that the new one has to be above. Where the topic was
                made anew or cut it is filled until its offsets are above.
        """
        owned = sorted(self._owned or ())
        writers: dict[int, Writer] = {}
        lacking = dict.fromkeys(owned, 1)
        pause = threading.Event()
        while lacking:
            while not self._is_sure():
                pause.wait(_POLL_S)
            writers |= self._say_owner(lacking)
            # Sure of it afterwards too: the record of whoever is the next owner stands behind it.
            sure = self._is_sure()
            missing = {n: above.get(n, 0) + 1 - writers[n].incarnation for n in owned}
            lacking = {n: max(1, count) for n, count in missing.items() if count > 0 or not sure}
        self._writers = writers
        return writers

    def _say_owner(self, counts: Mapping[int, int]) -> dict[int, Writer]:
        """Appends so many records of ownership, or a part of them; what the last ones stand for."""
        key = self._member.flow.encode()
        value = f"{socket.gethostname()} {self._member.instance}".encode()
        entries: list[Entry] = []
        for number, count in counts.items():
            entries += [Entry(number, key, value)] * min(count, _AT_ONCE)
        offsets = self._log.append_wait(OWNERSHIP, entries)
        return {
            # Above 0, which stands for no owner.
            entry.partition: Writer(self._member.flow, entry.partition, offset + 1)
            for entry, offset in zip(entries, offsets, strict=True)
        }

    @override
    def valid_until(self) -> float:
        return self._valid_until

    @override
    def close(self) -> None:
        if self._closing.is_set():
            return
        assignments = self._assignments
        revoking = self._revoking
        self._released.set()
        if revoking:
            deadline = clock.monotonic() + _HANDED_ON_S
            pause = threading.Event()
            while self._assignments == assignments and clock.monotonic() < deadline:
                pause.wait(_POLL_S)
        self._closing.set()
        self._thread.join()
        self._left = True
        self._consumer.close()

    def _is_settled(self) -> bool:
        with self._lock:
            return (
                self._has_some()
                and clock.monotonic() - self._changed_at >= _SETTLED_S
                and self._is_sure()
            )

    def _is_sure(self) -> bool:
        return clock.since_boot() < self._valid_until

    def _has_some(self) -> bool:
        if self._member.alone:
            return 0 in self._assigned
        return 0 < len(self._assigned) <= self._most

    def _counts(self, places: list[Place]) -> bool:
        """Whether an assignment or its end changes what this process owns."""
        return any(place.partition == 0 or not self._member.alone for place in places)

    def _has_grown(self) -> bool:
        """Whether there are numbers that one process which has all does not know.

        Not for callbacks: the client ends the process where one asks the broker, and another one
        is called after it (CallState_get, seen with confluent-kafka 2.16.1).
        """
        self._may_have_grown = False
        if not self._member.alone or 0 not in self._assigned:
            return False
        with suppress(KafkaException):
            found = self._consumer.list_topics(self._topic, _LOOK_S)
            return not found.topics[self._topic].partitions.keys() <= (self._owned or frozenset())
        return False

    def _join(self) -> Consumer:
        consumer = Consumer(self._properties)
        consumer.subscribe(
            [self._topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
        )
        return consumer

    def _run(self) -> None:
        """Polls, and each second proves membership: a commit is taken from a member alone."""
        proven_at = -inf
        while not self._closing.is_set():
            message = self._consumer.poll(_POLL_S)
            error = None if message is None else message.error()
            if error is not None:
                logger.warning("membership", error=error.str())
            if error is not None and error.code() == _FATAL:
                self._join_anew()
            if self._may_have_grown and self._has_grown():
                self._tell_changed()
            if clock.monotonic() - proven_at >= _PROVE_EVERY_S:
                proven_at = clock.monotonic()
                try:
                    self._prove(clock.since_boot())
                except LogAwayError as error:
                    logger.warning("ownership is not known", error=str(error))

    def _join_anew(self) -> None:
        """In place of a client that cannot go on: the group knows this instance by another member.

        Seen after a broker was killed: the group remembers a request to join whose answer never
        came, and fences the member that it had answered. Whether it was another process instead,
        and what that has done, is asked before anything is sent again.
        """
        logger.warning(
            "another process may use the same instance name: was the data directory copied?",
            flow=self._member.flow,
            instance=self._member.instance,
        )
        self._lose(self._consumer, [])
        self._consumer.close()
        self._consumer = self._join()

    def _assign(self, consumer: Consumer, places: list[Place]) -> None:
        consumer.incremental_assign(places)
        if places:
            consumer.pause(places)
        if self._take_name_back:
            self._take_name_back()
            self._take_name_back = None
        with self._lock:
            self._assigned.update(place.partition for place in places)
            self._changed_at = clock.monotonic()
            self._assignments += 1
            running = self._owned is not None and not self._in_question
        if running and self._counts(places):
            self._tell_changed()
        self._may_have_grown = running

    def _revoke(self, consumer: Consumer, places: list[Place]) -> None:
        """Partitions go to others: the process drains before they are given up.

        Where it dies before the group has given them on, and comes back by the same name, the group
        takes it for what it was, and they are nobody's for good (seen with Kafka 4.3.1). So it has
        another name until then, and the group misses the old one after a session's time.
        """
        if self._left:  # nothing is given on: the group waits for this name
            consumer.incremental_unassign(places)
            return
        if self._take_name_back is None:
            self._take_name_back = self._member.rename()
        with self._lock:
            running = self._owned is not None and not self._in_question
        if running and self._counts(places) and not self._released.is_set():
            self._revoking = True
            self._tell_changed()
            if not self._released.wait(DRAIN.total_seconds()):
                logger.error("the partitions were not drained in time, the process ends")
                self._on_lost()
        with self._lock:
            self._assigned.difference_update(place.partition for place in places)
            self._changed_at = clock.monotonic()
        consumer.incremental_unassign(places)

    def _lose(self, _consumer: Consumer, _places: list[Place]) -> None:
        """No heartbeat was answered for a session's time: others may own its numbers, or nobody.

        Nothing is sent until the group has answered. Where it gives back the same numbers, and no
        other process has owned them meanwhile, the work goes on: after a broker was away.
        """
        with self._lock:
            self._assigned.clear()
        self._question()

    def _question(self) -> None:
        self._valid_until = -inf
        self._asked_at.clear()  # what is still answered was asked before
        if self._owned is not None and not self._in_question:
            self._in_question = True
            logger.warning("ownership is in question", flow=self._member.flow)

    def _decide(self) -> None:
        """What the group's answer means, once it has stood for a moment."""
        with self._lock:
            is_answered = bool(self._assigned) and (
                clock.monotonic() - self._changed_at >= _SETTLED_S
            )
            alone = self._member.alone
            same = 0 in self._assigned if alone else self._owned == frozenset(self._assigned)
        if not is_answered:
            return
        if not same or self._is_superseded():
            self._put_out("others have owned its partitions")
            return
        self._in_question = False
        logger.info("ownership is as it was", flow=self._member.flow)

    def _is_superseded(self) -> bool:
        """Whether another process has owned one of the numbers since this one said so."""
        key = self._member.flow.encode()
        own = {
            TopicPartition(OWNERSHIP, number): writer.incarnation
            for number, writer in self._writers.items()
        }
        ends = self._log.end_offsets(own)
        since = {tp: (first, ends[tp]) for tp, first in own.items()}
        return any(record.key == key for record in self._log.scan_all(since))

    def _tell_changed(self) -> None:
        if not self._change_told:
            self._change_told = True
            logger.info("the partitions of this process change, it starts anew")
            self._on_changed()

    def _put_out(self, reason: str) -> None:
        self._valid_until = -inf
        logger.error("ownership is lost", flow=self._member.flow, reason=reason)
        self._on_lost()

    def _prove(self, sent_at: float) -> None:
        with self._lock:
            number = min(self._assigned, default=None)
        if number is None:
            return
        if self._in_question:
            self._decide()
            return
        # Not waited for: a coordinator that is away would keep this thread from polling. The
        # offset is of no use but to know the answer by.
        self._asked_at = {
            asked: at for asked, at in self._asked_at.items() if at > sent_at - _ANSWERS_IN_S
        }
        self._asked += 1
        self._asked_at[self._asked] = sent_at
        with suppress(KafkaException):  # a client that cannot go on says so by its next message
            self._consumer.commit(offsets=[Place(self._topic, number, self._asked)])

    def _on_commit(self, error: KafkaError | None, places: list[Place]) -> None:
        """The answer to a proof; called while the group is asked."""
        for place in places:
            sent_at = self._asked_at.pop(place.offset, None)
            reason = error or place.error
            if reason is not None and reason.code() in LOST:
                self._question()
            elif reason is None and sent_at is not None and not self._in_question:
                member = self._member
                good_for_s = (member.session - member.heartbeat).total_seconds() - _SPARE_S
                self._valid_until = max(self._valid_until, sent_at + good_for_s)
            # Any other error passes: a rebalance, a coordinator that moves, a broker that is away.
