"""The log port, its adapters, and what every flow shares."""

from connectors.log.port import Log
from connectors.log.sqlite.log import LogSettings, SqliteLog

__all__ = ["LogSettings", "open_log"]


def open_log(settings: LogSettings) -> Log:
    """Opens the log that the settings ask for; its folder is created where it is missing."""
    return SqliteLog(settings)
