"""Reading a partition forwards."""

from collections import deque
from collections.abc import Iterator, Sequence

from typing_extensions import override

from connectors.log.port import Reader, Record, TopicPartition
from connectors.log.sqlite.chunk import Chunk, unpack
from connectors.log.sqlite.shelf import OpenSegment, SegmentGoneError, Shelf

_SCAN_RECORDS = 500
_SCAN_BYTES = 4 * 1024 * 1024
_NEVER = -1
# A flow asks about every 10 ms: so it looks every half second, whatever the marks say.
_SPARE = 50


class PartitionReader(Reader):
    """Reads one partition, over the borders of segments. Used by one thread at a time."""

    def __init__(self, shelf: Shelf, tp: TopicPartition, offset: int) -> None:
        self._shelf = shelf
        self._marks = shelf.folder.marks
        self._tp = tp
        self._position = offset  # next offset to fetch
        self._fetched: deque[Record] = deque()
        self._segment: OpenSegment | None = None
        self._layout = _NEVER
        self._aligned = False  # whether the position is known to be where a chunk starts
        self._exhausted_at = _NEVER  # the bell when nothing more was there
        self._spared = 0

    @override
    def read(self, max_records: int, max_bytes: int) -> list[Record]:
        bell = self._marks.bell
        if not self._fetched and self._nothing_new(bell):
            return []
        records: list[Record] = []
        while len(records) < max_records and (max_bytes > 0 or not records):
            if not self._fetched and (
                self._exhausted_at == bell or not self._fetch(max_records, max_bytes, bell)
            ):
                break
            record = self._fetched[0]
            max_bytes -= len(record.key or b"") + len(record.value or b"")
            if records and max_bytes < 0:
                break
            records.append(self._fetched.popleft())
        return records

    @override
    def close(self) -> None:
        self._fetched.clear()
        self._segment = None

    def _nothing_new(self, bell: int) -> bool:
        """Whether a look can be spared. One in many is made all the same, as a fallback."""
        if self._exhausted_at == _NEVER or bell & 1:
            return False
        if bell != self._exhausted_at and self._marks.end(self._tp.partition) > self._position:
            return False
        self._spared += 1
        if self._spared < _SPARE:
            return True
        self._exhausted_at = _NEVER
        return False

    def _fetch(self, max_records: int, max_bytes: int, bell: int) -> bool:
        """Fetches the next records; False where there are none yet."""
        self._exhausted_at = _NEVER
        start = self._marks.start(self._tp.partition)
        if start > self._position:
            self._position, self._aligned = start, False
        while True:
            try:
                segment = self._located()
                found = segment.chunks(
                    self._tp.partition,
                    self._position,
                    seek=not self._aligned,
                    max_records=max_records,
                    max_bytes=max_bytes,
                )
            except SegmentGoneError:
                self._segment = None
                continue
            self._take(found.chunks)
            if found.exhausted and not found.sealed and not bell & 1:
                # The bell was read before: what came later has changed it.
                self._exhausted_at, self._spared = bell, 0
            if self._fetched:
                return True
            if found.exhausted:
                following = self._shelf.after(segment) if found.sealed else None
                if following is None:
                    return False
                self._segment, self._aligned = following, False

    def _located(self) -> OpenSegment:
        layout = self._marks.layout
        if self._segment is None or layout != self._layout:
            self._layout = layout
            self._segment = self._shelf.holding(self._tp.partition, self._position)
            self._aligned = False
        return self._segment

    def _take(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            self._fetched.extend(unpack(self._tp, chunk, self._position))
        self._aligned = True
        if self._fetched:
            self._position = self._fetched[-1].offset + 1


def scan(shelf: Shelf, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
    """The records with start <= offset < end that are in the log now, in order."""
    end = min(end, shelf.end(tp.partition).offset)
    reader = PartitionReader(shelf, tp, start)
    position = start
    while position < end:
        records = reader.read(_SCAN_RECORDS, _SCAN_BYTES)
        if not records:
            return
        for record in records:
            if record.offset >= end:
                return
            yield record
        position = records[-1].offset + 1
