"""The log port, its adapters, and what every flow shares."""

from connectors.log import moved
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import Log
from connectors.log.sqlite.log import LogSettings, SqliteLog

__all__ = ["KafkaSettings", "LogSettings", "moved", "open_log"]


def open_log(settings: LogSettings | KafkaSettings) -> Log:
    """Opens the log that the settings ask for.

    The folder of an embedded one is created where it is missing; of a cluster nothing is asked.

    Raises:
        ConfigurationError: The embedded log was moved to a cluster.
    """
    if isinstance(settings, LogSettings):
        moved.refuse_moved(settings.directory)
        return SqliteLog(settings)
    # Imported when asked for: the client library takes a tenth of a second.
    from connectors.log.kafka.log import KafkaLog  # noqa: PLC0415

    return KafkaLog(settings)
