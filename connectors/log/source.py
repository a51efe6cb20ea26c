"""Sources and sinks of the settle machinery: what every flow over the log is plugged into."""

from collections import defaultdict, deque
from datetime import datetime
from typing import NamedTuple, Protocol

from bytewax.inputs import (
    DynamicSource,
    FixedPartitionedSource,
    StatefulSourcePartition,
    StatelessSourcePartition,
)
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from typing_extensions import override

from connectors.log.fences import may_be_fence
from connectors.log.lost import why_lost
from connectors.log.peers import Mail, Peers, Settled
from connectors.log.port import Record, TopicPartition
from connectors.log.settling import Done, Settling
from connectors.log.suspects import Suspects
from sealwax import clock
from sealwax.errors import LogPositionError
from sealwax.model.delivery import Position

# A source that has just read something is asked again at once; an idle one after this time. Never
# longer: a source that sleeps holds up the epoch of all the others.
_IDLE_WAKE_MS = 10
_BUSY_WAKE_MS = 5
# Most partitions are of delay topics, where nobody sees a tenth of a second: asked as often as the
# others they took a tenth of a core on twelve partitions, idle.
_HELD_WAKE_MS = 100
_READ_RECORDS = 200
_READ_BYTES = 4 * 1024 * 1024
# How far reading may run ahead of the watermark: bounds the read-back after a crash.
_SPAN = 100_000
_STAMP_EVERY_MS = 1_000
# Acknowledgements end a drain last, when everything that makes them has been quiet this long.
_ACKS_QUIET_S = 0.6

NOTHING_DONE: Done = frozenset()


class SourceItem(NamedTuple):
    """A record that was read.

    Attributes:
        record: The record.
        done: The outcomes that the last run left durable.
        crashed: It has killed the process too often: it goes to `email.dead` unread (R16).
    """

    record: Record
    done: Done
    crashed: bool = False


class Lifecycle(Protocol):
    """The process that a source runs in; connectors.flow_process.FlowProcess."""

    def running(self) -> None:
        """The dataflow is up."""
        ...

    def draining(self) -> bool:
        """The process was asked to stop."""
        ...

    def quiet(self, seconds: float) -> bool:
        """It was asked to stop, and nothing has been in flight for that long."""
        ...


class Member(Lifecycle, Protocol):
    """A process that may be one of a Bytewax cluster."""

    @property
    def peers(self) -> Peers:
        """The others."""
        ...


def partition_name(tp: TopicPartition) -> str:
    """The name of a source partition in Bytewax."""
    return f"{tp.topic}/{tp.partition}"


class _LogPartition(StatefulSourcePartition[SourceItem, None]):
    def __init__(
        self, settling: Settling, tp: TopicPartition, process: Member, *, one_outcome: bool
    ) -> None:
        self._tp = tp
        self._settling = settling
        self._suspects = settling.suspects
        self._settler = settling.settler(tp)
        self._reader = settling.log.reader(tp, self._settler.position)
        self._read_to = self._settler.position
        self._buffer: deque[Record] = deque()
        self._read_at = clock.monotonic()
        self._process = process
        self._one_outcome = one_outcome
        self._done = settling.take_done(tp)
        self._last_done = max(self._done, default=-1)
        self._hold_ms = settling.spec.hold_ms.get(tp.topic, 0)
        self._window_records, self._window_bytes = settling.window(tp.topic)
        self._weight = settling.spec.weight
        self._busy = False
        self._stamped_ms = -_STAMP_EVERY_MS

    @override
    def next_batch(self) -> list[SourceItem]:
        if self._process.draining():
            raise StopIteration
        self._process.running()
        may_read = self._process.peers.ready and self._tp not in self._settling.stopped
        room = self._room() if may_read else 0
        if room > 0 and not self._buffer:
            size = min(_READ_BYTES, self._window_bytes - self._settler.unsettled_bytes)
            self._buffer.extend(self._read(min(room, _READ_RECORDS), size))
            self._read_at = clock.monotonic()
        items: list[SourceItem] = []
        now_ms = clock.now_ms()
        if self._suspects is not None:
            self._settle_run(self._suspects)
        if self._buffer:
            self._settler.head = self._buffer[0].offset, self._buffer[0].stamp_ms
        while self._buffer and room > len(items) and not self._settling.full:
            if self._is_held(self._buffer[0], now_ms):
                break
            if not self._may_take(self._buffer[0]):
                break
            self._take(self._buffer.popleft(), items)
        if items and self._suspects is not None:
            self._suspects.reached(self._tp, self._settler.position)
        self._busy = bool(items)
        return items

    def _read(self, most: int, size: int) -> list[Record]:
        """The next records that count; none where the log has lost some before them (R4)."""
        try:
            records = self._reader.read(most, size)
        except LogPositionError as error:
            self._settling.stop(self._tp, str(error))
            return []
        if records and records[0].offset > self._read_to:
            first = self._settling.log.start_offset(self._tp)
            lost = why_lost(self._read_to, first, records[0].offset)
            if lost:
                self._settling.stop(self._tp, lost)
                return []
        if records:
            self._read_to = records[-1].offset + 1
        return records

    def _is_held(self, record: Record, now_ms: int) -> bool:
        """Whether its time in the delay topic is not over.

        A stamp in the future was made before the clock was set back, or follows one that was. Such
        a record waits from when it was read: else all retries would wait for the clock to catch up.
        """
        if not self._hold_ms or may_be_fence(record) or self._settler.fences.is_late(record):
            return False
        if record.stamp_ms > now_ms:
            return (clock.monotonic() - self._read_at) * 1000 < self._hold_ms
        return record.stamp_ms > now_ms - self._hold_ms

    def _room(self) -> int:
        settler = self._settler
        if settler.unsettled_bytes >= self._window_bytes or self._settling.full:
            return 0
        return min(
            self._window_records - settler.unsettled,
            _SPAN - (settler.position - settler.watermark),
        )

    def _settle_run(self, suspects: Suspects) -> None:
        if suspects.settled(self._tp, self._settler.watermark):
            self._settling.commit()

    def _may_take(self, record: Record) -> bool:
        """Whether it is the record's turn; always, unless the process is careful (R16)."""
        if self._suspects is None or not self._suspects.careful:
            return True
        if self._one_outcome and record.offset in self._done:
            return True
        return self._suspects.admit(self._position(record))

    def _position(self, record: Record) -> Position:
        return Position(record.topic, record.partition, record.offset)

    def _take(self, record: Record, items: list[SourceItem]) -> None:
        done = self._done.pop(record.offset, NOTHING_DONE) if self._done else NOTHING_DONE
        if not self._settler.fences.admits(record) or (done and self._one_outcome):
            self._settler.skip(record.offset)
        else:
            if record.stamp_ms >= self._stamped_ms + _STAMP_EVERY_MS:
                self._stamped_ms = record.stamp_ms
                self._settler.note_stamp(record.offset, record.stamp_ms)
            self._settler.hand_out(record.offset, self._weight(record))
            crashed = self._suspects is not None and self._suspects.convicted(
                self._position(record)
            )
            items.append(SourceItem(record, done, crashed))
        if self._settler.replaying and record.offset >= self._last_done:
            self._done.clear()  # what is left belongs to offsets that the log no longer holds
            self._settler.replaying = False

    @override
    def next_awake(self) -> datetime | None:
        if self._busy:
            return None
        return clock.wake_in(_HELD_WAKE_MS if self._hold_ms else _IDLE_WAKE_MS)

    @override
    def snapshot(self) -> None:
        """The committed offset is the only truth about the position."""

    @override
    def close(self) -> None:
        self._reader.close()


class LogSource(FixedPartitionedSource[SourceItem, None]):
    """Reads every source partition of a flow from its watermark on.

    Guarantee: at least once. A record with durable outcomes is not handed out again where one
    outcome is the whole (`one_outcome`); elsewhere it comes with what is `done` of it.
    """

    def __init__(self, settling: Settling, process: Member, *, one_outcome: bool) -> None:
        self._settling = settling
        self._process = process
        self._one_outcome = one_outcome
        self._by_name = {partition_name(tp): tp for tp in settling.sources}

    @override
    def list_parts(self) -> list[str]:
        return sorted(self._by_name)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _LogPartition:
        tp = self._by_name[for_part]
        return _LogPartition(self._settling, tp, self._process, one_outcome=self._one_outcome)


class _AcksPartition(StatelessSourcePartition[tuple[str, Mail]]):
    def __init__(self, acks: deque[Position], process: Member) -> None:
        self._acks = acks
        self._process = process
        self._peers = process.peers

    @override
    def next_batch(self) -> list[tuple[str, Mail]]:
        if not self._acks and self._process.quiet(_ACKS_QUIET_S):
            raise StopIteration
        by_partition: defaultdict[TopicPartition, list[int]] = defaultdict(list)
        for _ in range(len(self._acks)):
            try:
                topic, partition, offset = self._acks.popleft()
            except IndexError:
                break  # another worker took it
            by_partition[TopicPartition(topic, partition)].append(offset)
        return [
            *self._peers.take_mail(),
            *(
                (self._peers.home_of(tp.partition), Settled(tp, tuple(offsets)))
                for tp, offsets in by_partition.items()
            ),
        ]

    @override
    def next_awake(self) -> datetime:
        return clock.wake_in(_BUSY_WAKE_MS if self._acks else _IDLE_WAKE_MS)


class AcksSource(DynamicSource[tuple[str, Mail]]):
    """Emits (process, offsets of a partition of its whose outcomes are durable); ends a drain last.

    What the processes of a cluster tell each other goes the same way.
    """

    def __init__(self, settling: Settling, process: Member) -> None:
        self._settling = settling
        self._process = process

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _AcksPartition:
        return _AcksPartition(self._settling.acks, self._process)


class _SettlePartition(StatefulSinkPartition[Mail, None]):
    def __init__(self, settling: Settling, peers: Peers) -> None:
        self._settling = settling
        self._peers = peers

    @override
    def write_batch(self, values: list[Mail]) -> None:
        for mail in values:
            if isinstance(mail, Settled):
                self._settling.settler(mail.tp).settle(mail.offsets)
            else:
                self._peers.receive(mail)

    @override
    def snapshot(self) -> None:
        """Settled offsets are committed to the log, not to a snapshot."""


class SettleSink(FixedPartitionedSink[Mail, None]):
    """Settles offsets in the process that reads their partition.

    It has one part a process, so that Bytewax routes each acknowledgement to the one that holds the
    partition's settler. Committing is the settling's own timer.
    """

    def __init__(self, settling: Settling, process: Member) -> None:
        self._settling = settling
        self._peers = process.peers

    @override
    def list_parts(self) -> list[str]:
        # Bytewax numbers the parts of all processes by their names in string order.
        return [self._peers.home.rjust(6, "0")]

    @override
    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _SettlePartition:
        return _SettlePartition(self._settling, self._peers)
