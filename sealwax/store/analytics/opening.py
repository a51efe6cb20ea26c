"""Which ClickHouse there is: inside the analytics process, or on a server."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sealwax.store.analytics.socket import SocketAnalytics

# Clients of ClickHouse are imported where they are needed: chDB is large, and the API of a platform
# without a server needs neither.
if TYPE_CHECKING:
    from sealwax.store.analytics.embedded import EmbeddedClickHouse
    from sealwax.store.analytics.server import ClickHouseServer, ServerAnalytics


@dataclass(frozen=True, slots=True)
class AnalyticsSettings:
    """Where events are stored, and how long to wait for it.

    Attributes:
        url: Of a server; empty for ClickHouse inside the analytics process.
        directory: Of the latter, which that process alone opens.
        socket: Where that process answers queries.
        timeout: How long the API waits for an answer.
        query_timeout: How long ClickHouse works on a query of the API.
        insert_timeout: How long an insert may take.
        repair_timeout: How long a start may take to find out what its last inserts stored.
    """

    url: str
    directory: Path
    socket: Path
    timeout: timedelta
    query_timeout: timedelta
    insert_timeout: timedelta
    repair_timeout: timedelta


def open_clickhouse(settings: AnalyticsSettings) -> "EmbeddedClickHouse | ClickHouseServer":
    """ClickHouse for whoever stores events; a server need not be there yet."""
    if settings.url:
        from sealwax.store.analytics.server import ClickHouseServer  # noqa: PLC0415

        return ClickHouseServer(settings.url, settings.insert_timeout)
    from sealwax.store.analytics.embedded import EmbeddedClickHouse  # noqa: PLC0415

    return EmbeddedClickHouse(settings.directory, settings.query_timeout)


def open_analytics(settings: AnalyticsSettings) -> "SocketAnalytics | ServerAnalytics":
    """Answers to questions about events, for the API."""
    if not settings.url:
        return SocketAnalytics(settings.socket, settings.timeout)
    from sealwax.store.analytics.server import ClickHouseServer, ServerAnalytics  # noqa: PLC0415

    server = ClickHouseServer(settings.url, settings.timeout)
    return ServerAnalytics(server, settings.query_timeout)
