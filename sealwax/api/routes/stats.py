"""GET /v1/stats."""

from contextlib import suppress
from datetime import date, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from litestar.params import Parameter

from sealwax import clock
from sealwax.api.problems import INVALID_FIELD, ProblemError
from sealwax.api.services import Services

_WEEK: Final = timedelta(days=6)
_MOST_DAYS: Final = 400  # what the roll-up keeps


class StatsView(msgspec.Struct, frozen=True):
    """Counts by UTC day, oldest first.

    Attributes:
        data: Each has `date` and, per kind of event, how many recipients it happened to.
    """

    data: list[dict[str, Any]]


First = Annotated[
    str | None, Parameter(query="from", description="First day; six before `to` without it.")
]
Last = Annotated[str | None, Parameter(query="to", description="Last day; today without it.")]


@get("/v1/stats", summary="What was sent, by day", operation_id="getStats")
async def show_stats(
    tenant_id: str, services: Services, first: First = None, last: Last = None
) -> StatsView:
    """Counted per recipient and UTC day."""
    to = clock.now().date() if last is None else _day("to", last)
    since = to - _WEEK if first is None else _day("from", first)
    days = (to - since).days + 1
    if days < 1:
        raise ProblemError(
            INVALID_FIELD, f"from ({since}) is after to ({to}). Exchange them.", field="from"
        )
    if days > _MOST_DAYS:
        raise ProblemError(
            INVALID_FIELD,
            f"{days:,} days are too many. Ask for at most {_MOST_DAYS} at a time.",
            field="from",
        )
    rows = await services.events.run(services.analytics.daily_stats, tenant_id, since, to)
    return StatsView(rows)


def _day(field: str, text: str) -> date:
    day = None
    with suppress(ValueError):
        day = date.fromisoformat(text)
    # Python reads other forms of ISO 8601 too; and the week before must be a date.
    if day is None or day.isoformat() != text or day < date.min + _WEEK:
        raise ProblemError(
            INVALID_FIELD, f"{text[:40]!a} is not a day. Write it like 2026-11-24.", field=field
        )
    return day
