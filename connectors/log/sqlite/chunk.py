"""Records on disk: a chunk is one row of a segment, some records of one partition back to back.

Rows are few so that a commit and a read each take few SQLite steps: every step gives the GIL away,
and a busy thread may keep it for 5 ms. Within a chunk the records are one MessagePack array.
"""

from collections.abc import Iterable, Sequence
from itertools import compress
from struct import Struct
from typing import NamedTuple

import msgspec

from connectors.log.port import Entry, Headers, Record, TopicPartition

# A chunk is closed when the next record would take it past this, so that a reader with a small
# budget never fetches much more than it wants. One larger record is a chunk of its own.
CHUNK_BYTES = 128 * 1024

# Rows are sorted by partition, then offset: one B-tree takes every append.
_PARTITION_SHIFT = 48

_Fields = tuple[bytes | None, bytes | None, Headers]
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Fields])
_CHECK = msgspec.msgpack.Decoder(_Fields)
_ARRAY_32 = 0xDD  # MessagePack: array, its length in the next four bytes
_DELTA = Struct("<I")


class Chunk(NamedTuple):
    """A row of a segment.

    Attributes:
        id: Partition and offset of the first record, see chunk_id.
        length: How many records.
        stamp_ms: When they were appended.
        offsets: None where offsets are dense; after compaction the distances from the first one,
            as little-endian 32-bit numbers.
        records: The records, see pack.
    """

    id: int
    length: int
    stamp_ms: int
    offsets: bytes | None
    records: bytes


def chunk_id(partition: int, offset: int) -> int:
    """The row id of the chunk that starts at `offset`."""
    return partition << _PARTITION_SHIFT | offset


def partition_of(row_id: int) -> int:
    """The partition part of a row id."""
    return row_id >> _PARTITION_SHIFT


def offset_of(row_id: int) -> int:
    """The offset part of a row id."""
    return row_id & ((1 << _PARTITION_SHIFT) - 1)


def encode(entry: Entry) -> bytes:
    """One record as bytes.

    Raises:
        TypeError: Key, value or headers have a type that could not be read back.
    """
    encoded = _ENCODER.encode((entry.key, entry.value, entry.headers))
    try:
        _CHECK.decode(encoded)
    except msgspec.ValidationError as error:
        raise TypeError(f"not a record: {error}") from error
    return encoded


def pack(records: Sequence[bytes]) -> bytes:
    """Joins encoded records into what a chunk holds."""
    return b"".join((bytes((_ARRAY_32,)), len(records).to_bytes(4, "big"), *records))


def unpack(tp: TopicPartition, chunk: Chunk, start: int) -> list[Record]:
    """The records of a chunk at or above the offset `start`."""
    topic, partition = tp
    return [
        Record(topic, partition, offset, key, value, headers, chunk.stamp_ms)
        for offset, (key, value, headers) in zip(
            _offsets(chunk), _DECODER.decode(chunk.records), strict=True
        )
        if offset >= start
    ]


def keep(chunk: Chunk, wanted: Sequence[bool]) -> Chunk | None:
    """The chunk with only the wanted records, at their old offsets; None where none is."""
    offsets = list(compress(_offsets(chunk), wanted))
    if not offsets:
        return None
    fields = compress(_DECODER.decode(chunk.records), wanted)
    return Chunk(
        chunk_id(partition_of(chunk.id), offsets[0]),
        len(offsets),
        chunk.stamp_ms,
        b"".join(_DELTA.pack(offset - offsets[0]) for offset in offsets),
        pack([_ENCODER.encode(one) for one in fields]),
    )


def _offsets(chunk: Chunk) -> Iterable[int]:
    first = offset_of(chunk.id)
    if chunk.offsets is None:
        return range(first, first + chunk.length)
    return [first + delta for (delta,) in _DELTA.iter_unpack(chunk.offsets)]
