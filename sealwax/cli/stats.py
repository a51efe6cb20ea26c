"""`sealwax stats`: what was sent, by day."""

from datetime import date, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from sealwax import clock
from sealwax.cli.client import Client
from sealwax.cli.options import Json
from sealwax.cli.output import say_json, say_table
from sealwax.errors import ConfigurationError

_WEEK = timedelta(days=6)
_ALWAYS = ("accepted", "delivered", "deferred", "bounced", "expired")


def stats(
    *,
    first: Annotated[
        str | None, Parameter(name="--from", help="First day, such as 2026-11-18 (UTC).")
    ] = None,
    last: Annotated[str | None, Parameter(name="--to", help="Last day; today without it.")] = None,
    json: Json = False,
) -> None:
    """Count what was sent, by day and per recipient; without dates the last seven days."""
    end = _day("--to", last) if last else clock.now().date()
    start = _day("--from", first) if first else end - _WEEK
    with Client() as client:
        answer = client.get("/v1/stats", {"from": start.isoformat(), "to": end.isoformat()})
    if json:
        say_json(answer)
        return
    days = answer["data"]
    columns = ["date", *(name for name in _counts(days) if _is_shown(name, days))]
    say_table(columns, [[str(day.get(c, "")) for c in columns] for day in days], right=True)


def _counts(days: list[dict[str, Any]]) -> list[str]:
    return [name for name in days[0] if name != "date"] if days else []


def _is_shown(name: str, days: list[dict[str, Any]]) -> bool:
    """The columns that everybody looks for, and those that count anything."""
    return name in _ALWAYS or any(day[name] for day in days)


def _day(flag: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{flag} {text!r} is not a day, such as 2026-11-24") from None
