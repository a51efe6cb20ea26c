"""Ids of emails."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.model.email_id import EmailIdError, accepted_at_ms, email_id, is_email_id

MS = st.integers(0, 2**48 - 1)
ENTROPY = st.binary(min_size=10, max_size=40)


@given(MS, ENTROPY)
def test_an_id_is_a_uuid_of_version_7_that_gives_its_time_back(ms, entropy):
    text = email_id(ms, entropy)
    assert str(uuid.UUID(text)) == text
    assert uuid.UUID(text).version == 7
    assert uuid.UUID(text).variant == uuid.RFC_4122
    assert is_email_id(text)
    assert accepted_at_ms(text) == ms


@given(MS, MS, ENTROPY, ENTROPY)
def test_ids_sort_by_their_time(ms, other_ms, entropy, other):
    if ms < other_ms:
        assert email_id(ms, entropy) < email_id(other_ms, other)


def test_the_same_time_and_entropy_give_the_same_id_and_each_used_bit_counts():
    assert (
        email_id(1, bytes(10)) == email_id(1, bytes(32)) == "00000000-0001-7000-8000-000000000000"
    )
    ids = {email_id(1, (1 << bit).to_bytes(10, "big")) for bit in range(74)}
    assert len(ids) == 74


@pytest.mark.parametrize("ms", [-1, 2**48])
def test_a_time_that_does_not_fit_is_refused(ms):
    with pytest.raises(ValueError, match="does not fit"):
        email_id(ms, bytes(10))


def test_too_little_entropy_is_refused():
    with pytest.raises(ValueError, match="10 bytes"):
        email_id(1, bytes(9))


@pytest.mark.parametrize(
    "text",
    ["", "x", str(uuid.UUID(int=0)), email_id(1, bytes(10)).replace("-", ""),
     email_id(1, bytes(10)) + "\n", email_id(1, b"\xff" * 10).upper(), "é" * 36],
)  # fmt: skip
def test_what_is_no_id_says_where_to_take_one_from(text):
    assert not is_email_id(text)
    with pytest.raises(EmailIdError, match="copy it from the answer"):
        accepted_at_ms(text)
