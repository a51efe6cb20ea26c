"""Durations."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.errors import SealwaxError
from sealwax.model.duration import DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [("0s", timedelta()), ("30s", timedelta(seconds=30)), ("5m", timedelta(minutes=5)),
     ("24h", timedelta(hours=24)), ("7d", timedelta(days=7)), ("090s", timedelta(seconds=90))],
)  # fmt: skip
def test_a_number_and_a_unit_are_a_duration(text, duration):
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "5 m", " 5m", "5m\n", "-5m", "+5m", "1.5h", "5M", "5ms", "5m30s", "٥m", "1" * 10 + "s", "1w"],
)  # fmt: skip
def test_anything_else_says_what_a_duration_looks_like(text):
    with pytest.raises(DurationError, match="30s, 5m, 24h or 7d") as error:
        parse_duration(text)
    assert isinstance(error.value, SealwaxError)


@pytest.mark.parametrize(
    ("duration", "text"),
    [(timedelta(), "0s"), (timedelta(seconds=90), "90s"), (timedelta(minutes=90), "90m"),
     (timedelta(hours=36), "36h"), (timedelta(hours=24), "1d"), (timedelta(milliseconds=2500), "2s")],
)  # fmt: skip
def test_the_form_is_the_largest_unit_without_a_rest(duration, text):
    assert format_duration(duration) == text


@given(st.integers(0, 10**8))
def test_what_is_written_is_read_back(seconds):
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration
