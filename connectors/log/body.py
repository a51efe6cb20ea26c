"""Values too large for a record: kept in `email.body` in chunks, and named by a reference (R14).

The chunks are durable before the record that names them is appended. What a crash leaves in
between is chunks that nobody names, and retention takes them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connectors.log.port import Entry, Log, Record, TopicPartition
from sealwax.errors import SealwaxError, UnreadableRecordError
from sealwax.model.topics import BODY

CHUNK_BYTES = 512 * 1024
# What is no larger stands in the record itself.
INLINE_BYTES = CHUNK_BYTES
_CHUNK = "chunk"
_DIGEST_BYTES = 32


class BodyLostError(SealwaxError):
    """A body cannot be read back: chunks are missing or are not what was stored."""


class BodyReference(NamedTuple):
    """Where a body is.

    Attributes:
        partition: Of `email.body`.
        offset: Of its first chunk; the others stand behind it in order, perhaps not at once.
        chunks: How many there are.
        sha256: Digest of the whole body, which is also the key of each chunk.
    """

    partition: int
    offset: int
    chunks: int
    sha256: bytes

    def encode(self) -> bytes:
        """The reference as a header holds it."""
        return b"%d/%d/%d/%b" % (*self[:3], self.sha256.hex().encode())

    @staticmethod
    def decode(raw: bytes) -> "BodyReference":
        """The reverse of `encode`.

        Raises:
            UnreadableRecordError: These bytes are no reference.
        """
        try:
            partition, offset, chunks, digest = raw.decode("ascii").split("/")
            found = BodyReference(int(partition), int(offset), int(chunks), bytes.fromhex(digest))
        except ValueError as error:
            raise UnreadableRecordError("bad_body", f"no reference: {raw[:80]!r}") from error
        if min(found[:3]) < 0 or len(found.sha256) != _DIGEST_BYTES:
            raise UnreadableRecordError("bad_body", f"no reference: {raw[:80]!r}")
        return found


@dataclass(frozen=True, slots=True)
class SplitBody:
    """A body on its way into the log.

    Attributes:
        sha256: Its digest.
        chunks: What to append to `email.body`, in one call.
    """

    sha256: bytes
    chunks: tuple[Entry, ...]

    def stored_at(self, offsets: Sequence[int]) -> BodyReference:
        """The reference to it, once its chunks are durable at these offsets."""
        return BodyReference(self.chunks[0].partition, offsets[0], len(offsets), self.sha256)


def split_body(partition: int, value: bytes) -> SplitBody:
    """Cuts a body into chunks, at least one.

    Args:
        partition: Of `email.body`: the number of the partition of the record that will name it.
        value: The body.
    """
    digest = hashlib.sha256(value).digest()
    starts = range(0, max(1, len(value)), CHUNK_BYTES)
    return SplitBody(
        digest,
        tuple(
            Entry(
                partition,
                digest,
                value[start : start + CHUNK_BYTES],
                ((_CHUNK, b"%d/%d" % (number, len(starts))),),
            )
            for number, start in enumerate(starts)
        ),
    )


def write_body(log: Log, partition: int, value: bytes) -> BodyReference:
    """Stores a body and waits until it is durable; raises what `append_wait` does."""
    body = split_body(partition, value)
    return body.stored_at(log.append_wait(BODY, body.chunks))


def read_body(log: Log, reference: BodyReference) -> bytes:
    """The body that a reference names.

    Raises:
        BodyLostError: A chunk is missing, or the digest is another one.
    """
    tp = TopicPartition(BODY, reference.partition)
    where = f"{BODY}/{reference.partition}/{reference.offset}"
    chunks: list[bytes] = []
    for record in log.scan(tp, reference.offset, log.end_offset(tp)):
        if len(chunks) == reference.chunks:
            break
        number = _number(record, reference)
        if number is None or number < len(chunks):
            continue  # of another body, or of the same one that another writer stored
        if number > len(chunks):
            break
        chunks.append(record.value or b"")
    if len(chunks) < reference.chunks:
        lost = f"chunk {len(chunks) + 1} of {reference.chunks} is missing"
        raise BodyLostError(f"the body at {where} cannot be read back: {lost}")
    value = b"".join(chunks)
    if hashlib.sha256(value).digest() != reference.sha256:
        raise BodyLostError(f"the body at {where} is not what was stored: its SHA-256 differs")
    return value


def _number(record: Record, reference: BodyReference) -> int | None:
    """Which chunk of that body a record is, from 0; None for a record of another."""
    if record.key != reference.sha256:
        return None
    text = next((value for name, value in record.headers if name == _CHUNK), b"")
    number, _, count = text.partition(b"/")
    if not number.isdigit() or count != b"%d" % reference.chunks:
        return None
    return int(number)
