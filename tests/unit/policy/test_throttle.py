"""Rates, as they are written and said."""

import pytest

from sealwax.policy.throttle import Rate, rate_from


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("100/s", "100/s"),
        ("100/m", "100/m"),
        ("50000/h", "50000/h"),
        ("6/m", "6/m"),
        ("1/h", "1/h"),
        ("999999/h", "999999/h"),
        ("120/m", "2/s"),
        ("7200/h", "2/s"),
        ("90/h", "90/h"),
    ],
)
def test_a_rate_is_said_in_the_shortest_unit_that_has_whole_numbers(written, said):
    assert str(rate_from(written)) == said


def test_a_rate_that_no_unit_has_whole_is_said_by_the_second():
    assert str(Rate(7_000_000)) == "0.000142857/s"
    assert str(Rate(1000 / 2.5)) == "150/m"
