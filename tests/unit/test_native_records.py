"""Ready and retry records: what goes in comes out, and no bytes do harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax import native
from sealwax.native import DeliveryFields, ItemError

ID = "01a20d1f-3219-7ca5-bdf1-be0377851f6e"
texts = st.text(max_size=20)
numbers = st.integers(0, 2**64 - 1)
ids = st.one_of(st.uuids().map(str), st.just(ID.upper()), st.just(ID.replace("-", "")), texts)
fields = st.tuples(
    ids, numbers, texts, texts, texts, texts, texts,
    numbers, numbers, numbers, numbers, numbers,
    texts, texts, texts,
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    st.tuples(texts, numbers, numbers), numbers,
    st.lists(st.tuples(texts, texts, numbers), max_size=3).map(tuple),
    st.binary(max_size=100),
)  # fmt: skip


def sample(email_id: str = ID) -> DeliveryFields:
    return (
        email_id, 3, "t1", "marketing", "b@acme.test", "ada@b.test", "b.test",
        1, 2, 3, 4, 5, "192.0.2.1", "acme.test", "welcome@2", (("k", "v"),),
        ("email.requested.marketing", 1, 42), 7, (("retry", "451", 60_000),), b"From: x\r\n\r\nbody",
    )  # fmt: skip


@given(delivery=fields, row=st.binary(max_size=200))
def test_a_delivery_comes_back_and_its_row_is_cut_out(delivery, row):
    (value,) = native.encode_deliveries([(delivery, row)])
    assert native.decode_deliveries([value]) == [delivery]
    assert native.delivery_row(value) == row


@given(value=st.binary(max_size=300), version=st.sampled_from([b"", b"\x01"]))
def test_no_bytes_do_harm(value, version):
    (result,) = native.decode_deliveries([version + value])
    assert isinstance(result, tuple) or result.code in {"unreadable", "unknown_version"}


def test_a_record_that_is_cut_off_is_unreadable_and_harms_no_other():
    (value,) = native.encode_deliveries([(sample(), b'{"a":1}')])
    message = len(sample()[-1])
    cut_off = [value[:n] for n in range(len(value) - message)]
    *broken, whole = native.decode_deliveries([*cut_off, value])
    assert all(isinstance(error, ItemError) and error.code == "unreadable" for error in broken)
    assert whole == sample()


def test_an_unknown_version_is_said_to_be_one():
    (value,) = native.encode_deliveries([(sample(), b"")])
    newer = bytes([2]) + value[1:]
    (error,) = native.decode_deliveries([newer])
    assert isinstance(error, ItemError)
    assert error.code == "unknown_version"
    with pytest.raises(ValueError, match="unknown_version"):
        native.delivery_row(newer)
    with pytest.raises(ValueError, match="unreadable"):
        native.delivery_row(b"")


def test_an_id_in_canonical_form_takes_sixteen_bytes():
    short, long = native.encode_deliveries([(sample(), b""), (sample(ID.upper()), b"")])
    assert len(long) - len(short) == 36 + 1 - 16
