"""Leases (R15): records that stand for messages whose attempts take long.

An attempt may last as long as its peer likes, at the final dot ten minutes. Its record would hold
the watermark for all that time, and after a stop it would be sent again while the peer still makes
up its mind. So a lease takes the record's place: a delay record without a row, which settles it.
Whoever reads the lease when it is due looks for the outcome of the attempt.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import NamedTuple

import structlog

from connectors.log.fences import WRITER, Writer, admitted, writer_of
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Record, TopicPartition
from connectors.log.settle import (
    Ends,
    decode_mark,
    encode_mark,
    parse_source_header,
    source_header,
    source_of,
)
from connectors.log.settling import Floor, Settling
from connectors.records import encode_deliveries, message_header
from connectors.smtp.items import Send
from sealwax import clock
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Delivery, Position
from sealwax.model.event import Cause, Wait
from sealwax.model.topics import DELAY_OF, RETRY_DELAYS_MS, Stream, retry
from sealwax.policy.delay import delay_for

HEADER = "lease"
# Shorter delay topics are read at once: a lease would go round without end.
_SHORTEST_MS = RETRY_DELAYS_MS["1m"]
_RULE = "smtp.lease"

logger = structlog.get_logger(__name__)


class Lease(NamedTuple):
    """What the header of a lease says.

    Attributes:
        holder: The process whose attempt it stands for.
        of: The record that the attempt's outcome settles.
        ends: Where the flow's outputs ended when the attempt was still open.
        writer: The incarnation of its writer, whose fence stands before them; 0 without fences.
    """

    holder: str
    of: Position
    ends: Ends
    writer: int = 0

    def header(self) -> tuple[str, bytes]:
        """Name and value of the record's header."""
        of = source_header(self.of).decode()
        return HEADER, f"{self.holder} {of} {encode_mark(self.ends)}".encode()


def lease_of(record: Record) -> Lease | None:
    """The lease that a record is, or None where it is none (or one that cannot be read)."""
    value = next((value for name, value in record.headers if name == HEADER), None)
    if value is None:
        return None
    parts = value.decode("utf-8", "replace").split(" ")
    if len(parts) != 3:  # noqa: PLR2004 - as header() writes them
        return None
    parsed = parse_source_header(parts[1].encode())
    try:
        ends = decode_mark(parts[2])
    except UnreadableRecordError:
        return None
    raw = next((value for name, value in record.headers if name == WRITER), b"")
    writer = writer_of(raw)
    return Lease(parts[0], parsed[0], ends, writer.incarnation if writer else 0) if parsed else None


class Fate(Enum):
    """What becomes of a lease that is due."""

    ENDED = auto()  # the attempt's outcome is durable: nothing is left to do
    OPEN = auto()  # the attempt goes on: a further lease
    LOST = auto()  # the process died with it: the message is sent again, in doubt


@dataclass(frozen=True, slots=True)
class Due:
    """A lease that was read.

    Attributes:
        source: Its own position, to be settled.
        delivery: The message.
        lease: What it stands for.
    """

    source: Position
    delivery: Delivery
    lease: Lease


class Leases:
    """The leases of a dispatch process. Thread-safe.

    Attributes:
        granted: How many were appended for attempts of this process, those that went round again
            counted once.
        lost: How many messages were sent again since no outcome stood.
    """

    def __init__(
        self,
        settling: Settling,
        writer: OutcomeWriter,
        holder: str,
        others: Container[str] = (),
    ) -> None:
        """Makes the leases of one process.

        Args:
            settling: Of the flow's partitions.
            writer: Appends them.
            holder: A name that no other process has.
            others: The names of those that live and die with this one.
        """
        self._settling = settling
        self._writer = writer
        self._holder = holder
        self._others = others
        self._open: set[Position] = set()
        self.granted = 0
        self.lost = 0

    def grant(self, send: Send, until_ms: int) -> None:
        """Appends a lease for an attempt that has no result yet; settles its record.

        Args:
            send: The attempt.
            until_ms: When it ends at the latest, wall clock.
        """
        source = send.queued.source
        self._open.add(source)
        self.granted += 1
        lease = Lease(self._holder, source, self._ends(source.partition))
        now_ms = clock.now_ms()
        delivery = replace(
            send.queued.delivery,
            attempt=send.attempt,
            since_ms=now_ms,
            waits=(*send.waits, Wait(Cause.RETRY, _RULE, max(0, now_ms - send.granted_ms))),
            not_before_ms=until_ms,
        )
        logger.info(
            "lease", email_id=delivery.email_id, site=send.queued.site, granted=self.granted
        )
        self._append(source, delivery, lease)

    def ended(self, source: Position) -> None:
        """The outcome of an attempt is durable."""
        self._open.discard(source)

    def settle(self, due: Sequence[Due]) -> list[Due]:
        """Ends or renews the leases whose attempts ended or go on.

        Returns:
            Those whose attempt was lost with its process; their records are not settled yet.
        """
        lost = []
        for one, fate in zip(due, self._fates(due), strict=True):
            if fate is Fate.ENDED:
                self._writer.write([], [one.source])
            elif fate is Fate.OPEN:
                self._renew(one)
            else:
                lost.append(one)
        self.lost += len(lost)
        if lost:
            logger.warning("sent again, in doubt", messages=len(lost), lost=self.lost)
        return lost

    def _fates(self, due: Sequence[Due]) -> list[Fate]:
        foreign = [one for one in due if one.lease.holder != self._holder]
        standing = self._outcomes(foreign) if foreign else frozenset()

        def fate(one: Due) -> Fate:
            if one.lease.holder == self._holder:
                return Fate.OPEN if one.lease.of in self._open else Fate.ENDED
            if one.lease.of in standing:
                return Fate.ENDED
            # Ownership is held by this process: the holder is of its cluster, or no more.
            return Fate.OPEN if one.lease.holder in self._others else Fate.LOST

        return [fate(one) for one in due]

    def _outcomes(self, due: Iterable[Due]) -> frozenset[Position]:
        """Which of these leases' messages have an outcome in the log; one scan for all."""
        floors: dict[TopicPartition, Floor] = {}
        wanted = set()
        for one in due:
            wanted.add(one.lease.of)
            outputs = self._settling.spec.outputs(one.source.partition)
            whole = [self._settling.log.start_offset(output) for output in outputs]
            ends = one.lease.ends if len(one.lease.ends) == len(outputs) else whole
            for output, least, end in zip(outputs, whole, ends, strict=True):
                floor = Floor(max(least, end), one.lease.writer)
                floors[output] = min(floor, floors.get(output, floor))
        found = set()
        flow, log = self._settling.spec.name, self._settling.log
        for output, floor in floors.items():
            records = log.scan(output, floor.offset, log.end_offset(output))
            before = [Writer(flow, output.partition, floor.writer)] if floor.writer else []
            for record in admitted(records, output, before):
                settles = source_of(record.headers)
                if settles and settles[0] in wanted and lease_of(record) is None:
                    found.add(settles[0])
        return frozenset(found)

    def _renew(self, due: Due) -> None:
        now_ms = clock.now_ms()
        waited = Wait(Cause.RETRY, _RULE, max(0, now_ms - due.delivery.since_ms))
        delivery = replace(due.delivery, since_ms=now_ms, waits=(*due.delivery.waits, waited))
        self._append(due.source, delivery, due.lease)

    def _append(self, settles: Position, delivery: Delivery, lease: Lease) -> None:
        wait_ms = max(_SHORTEST_MS, delivery.not_before_ms - delivery.since_ms)
        topic = retry(Stream(delivery.stream), delay_for(wait_ms))
        delayed = replace(delivery, due_ms=delivery.since_ms + DELAY_OF[topic])
        (value,) = encode_deliveries([(delayed, b"")])
        src = ("src", source_header(settles))
        headers = (src, message_header(delivery), lease.header())
        key = delivery.rcpt_domain.encode()
        entry = Entry(settles.partition, key, value, headers)
        self._writer.write([(topic, [entry])], [settles])

    def _ends(self, partition: int) -> Ends:
        log = self._settling.log
        return tuple(log.end_offset(output) for output in self._settling.spec.outputs(partition))
