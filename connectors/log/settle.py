"""Settling (R2): which records of a source partition have a durable outcome.

The committed offset of a partition is its low watermark: every record below it has its outcome.
Its metadata is a *mark*: the ends of the partition's outputs at a moment when the watermark's
record had not yet been handed to the flow, so that every outcome of a record at or above the
watermark stands at or above the mark.
"""

import base64
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.log.fences import Fences, Writer
from connectors.log.port import Committed, Headers, TopicPartition
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position

# Header of a record that stands in its topic for one that stood there before: where that was.
FIRST_POSITION = "first-position"

Ends = tuple[int, ...]
_MARK_VERSION = 1
_STAND_VERSION = 2
_MORE = 0x80
# Flows by their numbers in a stand.
_FLOWS = ("render", "dispatch", "analytics", "feedback", "schedule", "webhooks")
_LIVES_BYTES = 8


@dataclass(frozen=True, slots=True)
class Stand:
    """What the metadata of a committed offset says.

    Attributes:
        ends: The mark.
        writer: The incarnation of the owner when the mark was set; its fences stand before it. 0
            where there are none.
        lives: Names these lives of the source topic and the outputs, in 8 bytes that are not all
            zero; empty where it was not noted.
        fences: The newest fences of the source partition below the offset.
    """

    ends: Ends
    writer: int = 0
    lives: bytes = b""
    fences: tuple[Writer, ...] = ()


# Of a partition that was added to its topic: it was empty then, so whatever its outputs hold of its
# records stands where they begin, or after.
BEGUN = Stand(())


def encode_stand(stand: Stand) -> str:
    """A stand as base64; of a log without fences and lives the same as its mark."""
    if not (stand.writer or stand.lives or stand.fences):
        return encode_mark(stand.ends)
    numbers = [stand.writer, len(stand.ends), *stand.ends]
    for fence in stand.fences:
        numbers += [_FLOWS.index(fence.flow), fence.number, fence.incarnation]
    lives = stand.lives or bytes(_LIVES_BYTES)
    return base64.b64encode(bytes([_STAND_VERSION]) + lives + _varints(numbers)).decode()


def decode_stand(text: str) -> Stand:
    """The reverse of encode_stand.

    Raises:
        UnreadableRecordError: Another version, or none at all.
    """
    raw = _decoded(text)
    if raw[0] != _STAND_VERSION:
        return Stand(decode_mark(text))
    lives, numbers = raw[1 : 1 + _LIVES_BYTES], _numbers(raw[1 + _LIVES_BYTES :])
    try:
        writer, count = numbers[:2]
        ends, rest = numbers[2 : 2 + count], numbers[2 + count :]
        fences = tuple(
            Writer(_FLOWS[rest[n]], rest[n + 1], rest[n + 2]) for n in range(0, len(rest), 3)
        )
    except (ValueError, IndexError) as error:
        raise UnreadableRecordError("bad_mark", str(error)) from error
    if len(ends) != count:
        raise UnreadableRecordError("bad_mark", f"{text[:20]!r} is cut")
    # They are a hash: one that ends with a zero keeps it.
    return Stand(ends, writer, lives if any(lives) else b"", fences)


def encode_mark(ends: Ends) -> str:
    """Ends of the outputs, in the flow's order, as base64 of varints."""
    return base64.b64encode(bytes([_MARK_VERSION]) + _varints(ends)).decode()


def decode_mark(text: str) -> Ends:
    """The reverse of encode_mark; of a stand its mark.

    Raises:
        UnreadableRecordError: Another version, or not a mark at all.
    """
    raw = _decoded(text)
    if raw[0] == _STAND_VERSION:
        return decode_stand(text).ends
    if raw[0] != _MARK_VERSION:
        raise UnreadableRecordError("unknown_version", f"mark {text[:20]!r}")
    return _numbers(raw[1:])


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise UnreadableRecordError("bad_mark", str(error)) from error
    if not raw:
        raise UnreadableRecordError("unknown_version", "mark ''")
    return raw


def _varints(numbers: Sequence[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        rest = number
        while rest >= _MORE:
            out.append(rest & 0x7F | _MORE)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _numbers(raw: bytes) -> tuple[int, ...]:
    numbers, number, shift = [], 0, 0
    for byte in raw:
        number |= (byte & 0x7F) << shift
        if byte & _MORE:
            shift += 7
        else:
            numbers.append(number)
            number, shift = 0, 0
    return tuple(numbers)


def source_header(position: Position, rcpt_index: int | None = None) -> bytes:
    """The `src` header of an outcome: which record it settles, or which recipient of it."""
    where = f"{position.topic}/{position.partition}/{position.offset}"
    return (where if rcpt_index is None else f"{where}/{rcpt_index}").encode()


def parse_source_header(raw: bytes) -> tuple[Position, int | None] | None:
    """The reverse of source_header.

    Returns:
        None for other bytes, so that one bad record in a read-back stops no start.
    """
    parts = raw.decode("utf-8", "replace").split("/")
    if len(parts) not in (3, 4):
        return None
    try:
        numbers = [int(part) for part in parts[1:]]
    except ValueError:
        return None
    return Position(parts[0], numbers[0], numbers[1]), numbers[2] if len(parts) == 4 else None  # noqa: PLR2004 - the parts counted above


def source_of(headers: Headers) -> tuple[Position, int | None] | None:
    """The record, and of a request the recipient, that an outcome with these headers settles."""
    raw = next((value for name, value in headers if name == "src"), None)
    return parse_source_header(raw) if raw else None


@dataclass(slots=True)
class _Mark:
    """The ends of the outputs, as they were before the record at `position` was handed out."""

    position: int
    ends: Ends
    writer: int = 0


class Held:
    """Bytes of records that a process has handed out and not settled. Thread-safe.

    Attributes:
        bytes: How many.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = 0

    def add(self, more: int) -> None:
        """Counts so many more, or fewer."""
        with self._lock:
            self.bytes += more


class Settler:
    """The settled offsets of one source partition.

    `hand_out`, `skip` and `mark` are called by the partition's source; `settle` by the settle sink
    and `commit_point` by the committing thread, in any order and from any thread. Settling is
    idempotent and needs no order.
    """

    def __init__(  # noqa: PLR0913 - where it begins
        self,
        tp: TopicPartition,
        offset: int,
        ends: Ends,
        *,
        stand: Stand | None = None,
        writer: int = 0,
        lives: bytes = b"",
        held: Held | None = None,
    ) -> None:
        """Begins at an offset.

        Args:
            tp: The partition.
            offset: Its watermark.
            ends: The first mark.
            stand: What was committed with the offset, where its mark is the first one.
            writer: The owner's incarnation, of the marks that follow.
            lives: As in a stand.
            held: Counts the unsettled bytes of the process.
        """
        self.tp = tp
        self.fences = Fences(tp, stand.fences if stand else ())
        self._writer = writer
        self._lives = lives
        self._lock = threading.Lock()
        self._watermark = offset
        self._position = offset
        self._sizes: dict[int, int] = {}
        self._above: set[int] = set()
        self._unsettled_bytes = 0
        self._held = held or Held()
        self._marks = deque([_Mark(offset, ends, stand.writer if stand else writer)])
        self._committed: Committed | None = None
        # The record that is handed out next, where the source has it: offset and stamp.
        self.head: tuple[int, int] | None = None
        self._stamps: deque[tuple[int, int]] = deque()
        # True while outcomes of the last run may stand above the first mark, which must stay.
        self.replaying = False

    @property
    def position(self) -> int:
        """One above the last record that was handed out or skipped."""
        return self._position

    @property
    def watermark(self) -> int:
        """Every record below it is settled."""
        return self._watermark

    @property
    def unsettled(self) -> int:
        """Records handed out and not settled yet."""
        return len(self._sizes)

    @property
    def unsettled_bytes(self) -> int:
        """What they hold, by the flow's `weight`."""
        return self._unsettled_bytes

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record was appended that was read and is not settled; None without one.

        Milliseconds since 1970, at most a second before it was.
        """
        with self._lock:
            while len(self._stamps) > 1 and self._stamps[1][0] <= self._watermark:
                self._stamps.popleft()
            if self._watermark < self._position and self._stamps:
                return self._stamps[0][1]
            head = self.head
            return head[1] if head and head[0] >= self._position else None

    def note_stamp(self, offset: int, stamp_ms: int) -> None:
        """Notes when a record was appended that is handed out next; seldom, for `oldest_ms`."""
        with self._lock:
            self._stamps.append((offset, stamp_ms))
            while len(self._stamps) > 1 and self._stamps[1][0] <= self._watermark:
                self._stamps.popleft()

    def hand_out(self, offset: int, size_bytes: int) -> None:
        """Notes that the record at `offset` goes to the flow.

        Offsets before it that the log does not hold (compaction, transaction markers) count as
        settled.
        """
        with self._lock:
            self._pass_gap(offset)
            self._sizes[offset] = size_bytes
            self._unsettled_bytes += size_bytes
            self._position = offset + 1
        self._held.add(size_bytes)

    def skip(self, offset: int) -> None:
        """Notes that the record at `offset` has its outcome already and is not handed out."""
        with self._lock:
            self._pass_gap(offset + 1)
            self._position = offset + 1

    def settle(self, offsets: Sequence[int]) -> None:
        """Notes that these records' outcomes are durable."""
        settled_bytes = 0
        with self._lock:
            for offset in offsets:
                size = self._sizes.pop(offset, None)
                if size is None:
                    continue
                settled_bytes += size
                self._above.add(offset)
            self._unsettled_bytes -= settled_bytes
            self._raise_watermark()
        self._held.add(-settled_bytes)

    def mark(self, ends: Ends) -> None:
        """Sets a mark at the read position: `ends` were read before its record is handed out."""
        with self._lock:
            last = self._marks[-1]
            if last.position == self._position:
                # Nothing was handed out since: the mark of a held or idle head moves along.
                last.ends, last.writer = ends, self._writer
            else:
                self._marks.append(_Mark(self._position, ends, self._writer))
            self._drop_marks()

    def commit_point(self) -> Committed | None:
        """What to commit now, or None where nothing moved since the last call."""
        with self._lock:
            self._drop_marks()
            first = self._marks[0]
            fences = self.fences.before(self._watermark)
            stand = Stand(first.ends, first.writer, self._lives, fences)
            point = Committed(self._watermark, encode_stand(stand))
            if point == self._committed:
                return None
            self._committed = point
            return point

    def forget_commit(self) -> None:
        """Makes the next commit_point return one, after a commit that failed."""
        with self._lock:
            self._committed = None

    @property
    def floor(self) -> Ends | None:
        """Where a start would read the outputs back from, as last committed; None before that."""
        with self._lock:
            return decode_mark(self._committed.metadata) if self._committed else None

    @property
    def marks(self) -> int:
        """How many marks wait for the watermark to pass."""
        return len(self._marks)

    def _pass_gap(self, end: int) -> None:
        self._above.update(range(self._position, end))
        self._raise_watermark()

    def _raise_watermark(self) -> None:
        while self._watermark in self._above:
            self._above.remove(self._watermark)
            self._watermark += 1

    def _drop_marks(self) -> None:
        while len(self._marks) > 1 and self._marks[1].position <= self._watermark:
            self._marks.popleft()
