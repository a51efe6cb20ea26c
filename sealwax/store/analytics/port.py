"""What may be asked of the events, whoever answers."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol

from sealwax.errors import SealwaxError

Row = dict[str, Any]


class AnalyticsAwayError(SealwaxError):
    """Nobody answers queries now; the text says what to look at."""


class QueryError(SealwaxError):
    """A query was answered by an error."""


class Analytics(Protocol):
    """Queries over the events. Every one is about one tenant."""

    def rows_of_email(self, tenant_id: str, email_id: str) -> list[Row]:
        """All rows of an email, oldest first; times as ISO text with milliseconds and Z."""
        ...

    def daily_stats(self, tenant_id: str, first: date, last: date) -> list[Row]:
        """One row per UTC day from `first` to `last`: `date` and a count per kind of event.

        Counted per recipient; `accepted` is what was rendered, suppressed or rejected.
        """
        ...


class Queries(Protocol):
    """Runs a named query of sealwax.store.analytics.queries."""

    def query(self, name: str, params: Mapping[str, Any]) -> Sequence[Row]:
        """Its rows."""
        ...
