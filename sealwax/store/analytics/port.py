"""What may be asked of the events, whoever answers."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

from sealwax.errors import SealwaxError

Row = dict[str, Any]

MOST_REPLIES = 10_000


class AnalyticsAwayError(SealwaxError):
    """Nobody answers queries now; the text says what to look at."""


class QueryError(SealwaxError):
    """A query was answered by an error."""


class Analytics(Protocol):
    """Queries over the events. Every one is about one tenant, but for what only operators ask."""

    def rows_of_email(self, tenant_id: str, email_id: str) -> list[Row]:
        """All rows of an email, oldest first; times as ISO text with milliseconds and Z."""
        ...

    def daily_stats(self, tenant_id: str, first: date, last: date) -> list[Row]:
        """One row per UTC day from `first` to `last`: `date` and a count per kind of event.

        Counted per recipient; `accepted` is what was rendered, suppressed or rejected.
        """
        ...

    def unknown_replies(self, since: datetime) -> list[Row]:
        """Replies that no rule knew, of all tenants: for operators alone.

        One row per different reply: `provider`, `command`, `code`, `status`, `reply`, `n` for how
        many, `first_at` and `last_at` as ISO text. The latest come first, MOST_REPLIES at most.
        """
        ...


class Queries(Protocol):
    """Runs a named query of sealwax.store.analytics.queries."""

    def query(self, name: str, params: Mapping[str, Any]) -> Sequence[Row]:
        """Its rows."""
        ...
