"""Durations as people write them in settings and submissions: `30s`, `5m`, `24h`, `7d`."""

import re
from datetime import timedelta

from sealwax.errors import SealwaxError

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


class DurationError(SealwaxError, ValueError):
    """A text is not a duration."""


def parse_duration(text: str) -> timedelta:
    """Reads a whole number of at most nine digits and a unit: s, m, h or d.

    Raises:
        DurationError: It is anything else.
    """
    form = DURATION.fullmatch(text)
    if form is None:
        raise DurationError(
            f"{text[:40]!r} is not a duration: write a whole number and s, m, h or d, such as "
            "30s, 5m, 24h or 7d"
        )
    return int(form[1]) * _UNITS[form[2]]


def format_duration(duration: timedelta) -> str:
    """The form in the largest unit that leaves no rest; parts of a second are cut off."""
    whole = timedelta(seconds=duration // _UNITS["s"])
    unit = next((u for u, length in _UNITS.items() if whole and not whole % length), "s")
    return f"{whole // _UNITS[unit]}{unit}"
