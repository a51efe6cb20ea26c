"""Requests that nobody can process, or that only look so: a fixed corpus, and ones drawn anew."""

from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

GOOD: dict[str, Any] = {
    "from": "hello@acme.test",
    "to": "ada@d0.sink.test",
    "subject": "Hi",
    "text": "Hello",
}


def changed(**fields: Any) -> bytes:
    return orjson.dumps({**GOOD, **fields})


def corpus(large_bytes: int) -> list[bytes | None]:
    """One of each kind; each must end in `email.dead`.

    Args:
        large_bytes: Size of the largest.
    """
    good = orjson.dumps(GOOD)
    return [
        None,
        b"",
        b"\x00" * 100,
        b"\xff\xfe\x00\x01",
        good[:-1],
        good[: len(good) // 2],
        good + good,
        b"\xef\xbb\xbf" + good,
        b"[]",
        b"null",
        b"1e999",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        good[:-1] + b',"html":"\xff"}',
        good[:-1] + b',"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        changed(**{"from": None}),
        changed(**{"from": 7}),
        changed(**{"from": "nobody"}),
        changed(**{"from": "hello@other.test"}),
        changed(**{"from": "hello@acme.test\r\nBcc: x@y.test"}),
        changed(to=[]),
        changed(to={"a": 1}),
        changed(to="ada@d0.sink.test\nBcc: x@y.test"),
        changed(to="ada@d0.sink.test\x00"),
        changed(to=[f"user{n}@d0.sink.test" for n in range(10_000)]),
        changed(subject="Hi\r\nBcc: x@y.test"),
        changed(subject=["Hi"]),
        changed(headers={"X-A": "b\r\nBcc: x@y.test"}),
        changed(headers={"X-A\r\nBcc": "x@y.test"}),
        changed(headers={"X A": "b"}),
        changed(headers=[1]),
        changed(text=7),
        changed(text=None),
        changed(html="{{#if", data={}),
        changed(data="no object"),
        changed(attachments=[{"filename": "a", "content": "*not base64*"}]),
        changed(template={"id": "there is none"}, text=None),
        changed(text="x" * large_bytes),
        b"x" * large_bytes,
    ]


Key = bytes | None
Sent = list[tuple[str, bytes]]


def swollen(topic_bytes: int) -> list[tuple[str, Key, bytes, Sent]]:
    """Codec, key, value and headers of bad records that are too large, most only once they are
    whole: a broker's limit counts what a batch takes as it is compressed.

    Args:
        topic_bytes: Of the largest batch that their topic takes.
    """
    large = b"x" * (10 << 20)
    return [
        ("zstd", b"k", b"{", [("x", large)]),
        ("zstd", large, b"{", []),
        ("zstd", None, b"{", [("x" * 100_000, b"")]),
        ("zstd", large, large, [("x", large), *((f"{n}", b"") for n in range(50_000))]),
        ("none", None, b"x" * (topic_bytes - 1_000), []),
        ("none", b"k" * (topic_bytes - 1_000), b"{", []),
        ("none", b"k", b"{", [("x", b"x" * (topic_bytes - 1_000))]),
    ]


def drawn(count: int) -> Iterator[bytes]:
    """So many more, the same ones each time: good ones cut, spoilt, and with other values."""
    found: list[bytes] = []
    good = orjson.dumps(GOOD)
    json = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
    bad = st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(good) - 1).map(lambda end: good[:end]),
        st.tuples(st.integers(0, len(good)), st.binary(min_size=1, max_size=3)).map(
            lambda cut: good[: cut[0]] + b"\xff" + cut[1] + good[cut[0] :]
        ),
        json.map(orjson.dumps),
        json.filter(lambda v: not isinstance(v, str)).map(lambda v: changed(subject=[v])),
        json.filter(bool).map(lambda v: changed(**{"from": [v]})),
    )

    @seed(16)
    @settings(
        max_examples=max(1, count),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bad)
    def collect(value: bytes) -> None:
        found.append(value)

    while len(found) < count:
        collect()
    yield from found[:count]
