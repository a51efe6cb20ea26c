"""`sealwax stats`: what was sent, by day."""

from datetime import date, timedelta
from typing import Annotated

from cyclopts import Parameter

from sealwax import clock
from sealwax.cli.client import Client
from sealwax.cli.options import Json
from sealwax.cli.output import say_json, say_table
from sealwax.errors import ConfigurationError

_WEEK = timedelta(days=6)


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
    columns = list(days[0]) if days else ["date"]
    say_table(columns, [[str(day.get(c, "")) for c in columns] for day in days], right=True)


def _day(flag: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{flag} {text!r} is not a day, such as 2026-11-24") from None
