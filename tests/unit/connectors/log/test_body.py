"""Values too large for a record: stored in chunks, read back whole or not at all (R14)."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.log import LogSettings, open_log
from connectors.log.body import (
    CHUNK_BYTES,
    BodyLostError,
    BodyReference,
    read_body,
    split_body,
    write_body,
)
from connectors.log.port import Log, TopicPartition
from sealwax.errors import UnreadableRecordError
from sealwax.model import topics

BODY = TopicPartition(topics.BODY, 1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", 2, segment_bytes=4 << 20))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def value_of(size: int, seed: bytes = b"seed") -> bytes:
    """Bytes of which no two chunks are the same."""
    block = b"".join(hashlib.sha256(seed + b"%d" % n).digest() for n in range(1 + size // 32))
    return block[:size]


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 5_000_000]
)
def test_a_body_comes_back_from_chunks_of_512_kb(log, size):
    value = value_of(size)
    write_body(log, 1, value_of(2_000_000, b"another"))
    reference = write_body(log, 1, value)
    assert reference.chunks == max(1, -(-size // CHUNK_BYTES))
    assert read_body(log, BodyReference.decode(reference.encode())) == value


def test_a_body_of_80_mb_comes_back(log):
    value = value_of(80 << 20)
    assert read_body(log, write_body(log, 1, value)) == value


def test_chunks_of_others_in_between_do_not_matter(log):
    bodies = [split_body(1, value_of(3 * CHUNK_BYTES, seed)) for seed in (b"a", b"b", b"a")]
    offsets: list[list[int]] = [[], [], []]
    for number in range(3):
        for body, at in zip(bodies, offsets, strict=True):
            at.extend(log.append_wait(topics.BODY, [body.chunks[number]]))
    for body, at, seed in zip(bodies, offsets, (b"a", b"b", b"a"), strict=True):
        assert read_body(log, body.stored_at(at)) == value_of(3 * CHUNK_BYTES, seed)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_chunk_that_is_missing_is_said(log, missing):
    body = split_body(1, value_of(3 * CHUNK_BYTES))
    left = [chunk for number, chunk in enumerate(body.chunks) if number != missing]
    (first, _) = log.append_wait(topics.BODY, left)
    reference = BodyReference(1, first, 3, body.sha256)
    with pytest.raises(BodyLostError, match=f"chunk {missing + 1} of 3 is missing"):
        read_body(log, reference)


def test_a_chunk_that_is_another_is_said(log):
    body = split_body(1, value_of(2 * CHUNK_BYTES))
    forged = body.chunks[1]._replace(value=b"x" * CHUNK_BYTES)
    offsets = log.append_wait(topics.BODY, [body.chunks[0], forged])
    with pytest.raises(BodyLostError, match="SHA-256"):
        read_body(log, body.stored_at(offsets))


@given(
    st.builds(
        BodyReference,
        st.integers(0, 500),
        st.integers(0, 2**60),
        st.integers(1, 10**6),
        st.binary(min_size=32, max_size=32),
    )
)
def test_a_reference_comes_back(reference):
    assert BodyReference.decode(reference.encode()) == reference


@given(st.binary(max_size=90))
def test_any_bytes_are_a_reference_or_said_to_be_none(raw):
    try:
        assert BodyReference.decode(raw).chunks >= 0
    except UnreadableRecordError as error:
        assert error.reason == "bad_body"
