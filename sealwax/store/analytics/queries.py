"""The fixed texts of all queries. No text of a user ever becomes SQL: values are bound."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sealwax.model.event import Kind
from sealwax.policy.classify.rule import UNKNOWN
from sealwax.store.analytics.port import MOST_REPLIES, Queries, Row

# accepted_at is a function of the id, so naming it reads one range of the primary key. Nothing
# happens before accept, so older weeks are not read; a day is left for clocks that differ.
_ROWS_OF_EMAIL = """
SELECT *
FROM events
WHERE tenant = {tenant:String}
  AND accepted_at = UUIDv7ToDateTime({email_id:UUID}, 'UTC')
  AND email_id = {email_id:UUID}
  AND at >= UUIDv7ToDateTime({email_id:UUID}, 'UTC') - INTERVAL 1 DAY
ORDER BY at, _topic, _partition, _offset
"""

_DAILY_STATS = """
SELECT toString(toDate(hour)) AS date, toString(kind) AS kind, sum(n) AS n
FROM stats_hourly
WHERE tenant = {tenant:String}
  AND hour >= {first:Date} AND hour < {after:Date}
GROUP BY date, kind
UNION ALL
SELECT toString(toDate(at)) AS date, 'in_doubt' AS kind, count() AS n
FROM events
WHERE tenant = {tenant:String} AND in_doubt
  AND at >= {first:Date} AND at < {after:Date}
GROUP BY date
"""

# Of all tenants. A reply has ids and addresses in it, so most are different: the limit is on texts.
_UNKNOWN_REPLIES = """
SELECT provider, command, code, status, reply, count() AS n, min(at) AS first_at, max(at) AS last_at
FROM events
WHERE at >= {since:DateTime64(3, 'UTC')} AND startsWith(rule, {unknown:String})
GROUP BY provider, command, code, status, reply
ORDER BY last_at DESC
LIMIT {most:UInt32}
"""
# Level 2 still lets a call set its own limits; level 1 would refuse that.
READ_ONLY = {"readonly": 2}
AS_JSON = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_validate_utf8": 1,
}
# Outcomes of attempts that may have delivered the mail once more or once less than it says.
_IN_DOUBT = "in_doubt"

# What only operators ask: it is not about one tenant.
FOR_OPERATORS = {"unknown_replies": _UNKNOWN_REPLIES}
TEXTS = {"rows_of_email": _ROWS_OF_EMAIL, "daily_stats": _DAILY_STATS, **FOR_OPERATORS}

# Each recipient of an accepted email becomes exactly one of these.
_ACCEPTED = (Kind.RENDERED, Kind.SUPPRESSED, Kind.REJECTED)


class QueriedAnalytics:
    """The questions of sealwax.store.analytics.port, asked by named queries."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def rows_of_email(self, tenant_id: str, email_id: str) -> list[Row]:
        """See Analytics."""
        params = {"tenant": tenant_id, "email_id": email_id}
        return list(self._queries.query("rows_of_email", params))

    def daily_stats(self, tenant_id: str, first: date, last: date) -> list[Row]:
        """See Analytics."""
        after = last + timedelta(days=1)
        params = {"tenant": tenant_id, "first": first.isoformat(), "after": after.isoformat()}
        counted = self._queries.query("daily_stats", params)
        return [_day(first + timedelta(days=i), counted) for i in range((after - first).days)]

    def unknown_replies(self, since: datetime) -> list[Row]:
        """See Analytics."""
        start = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S.000}"
        params = {"since": start, "unknown": UNKNOWN, "most": MOST_REPLIES}
        return list(self._queries.query("unknown_replies", params))


def _day(day: date, counted: Sequence[Row]) -> Row:
    row: dict[str, Any] = {"date": day.isoformat(), **dict.fromkeys(Kind, 0), _IN_DOUBT: 0}
    row.update({c["kind"]: int(c["n"]) for c in counted if c["date"] == row["date"]})
    row[Kind.ACCEPTED] = sum(row[kind] for kind in _ACCEPTED)
    return {str(name): value for name, value in row.items()}
