"""`sealwax analytics`: work on ClickHouse that no process does by itself."""

from datetime import UTC, date, datetime, time
from typing import Annotated

from clickhouse_connect.driver.exceptions import ClickHouseError
from cyclopts import App, Parameter

from connectors.clickhouse.patience import Patience, StoppedWhileAwayError
from connectors.clickhouse.rebuild import rebuild as refill
from connectors.log import KafkaSettings, open_log
from connectors.log.port import Log, TopicPartition
from connectors.records import WITH_ROWS
from sealwax.cli.alone import NOT_ALONE, Alone, alone
from sealwax.cli.output import say
from sealwax.config import Settings, load
from sealwax.errors import ConfigurationError
from sealwax.model import topics
from sealwax.store.analytics.opening import open_clickhouse

app = App(name="analytics", help="ClickHouse: rebuild it from the log.")


@app.command
def rebuild(
    *,
    first: Annotated[
        str | None,
        Parameter(name="--from", help="First day, such as 2026-11-18 (UTC); all there is without."),
    ] = None,
) -> None:
    """Store the events of the log anew, in place of what ClickHouse has of them.

    The log keeps events for SEALWAX_EVENTS_KEPT. Rows of days before that are left as they are.
    Stop the platform first: mail waits meanwhile, and goes on afterwards.
    """
    since_ms = _start_ms(first) if first else 0
    settings = load()
    if not settings.has_log:
        raise ConfigurationError(f"there is no log in {settings.data_dir}; set SEALWAX_DATA_DIR")
    log = open_log(settings.log)
    try:
        with alone(settings, log, "analytics", range(settings.log.partitions)) as still:
            total = _refill(settings, log, since_ms, still)
    except StoppedWhileAwayError as error:
        raise ConfigurationError(NOT_ALONE) from error
    except ClickHouseError as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"ClickHouse failed, call this again: {reason}") from error
    finally:
        log.close()
    say(f"{total:,} rows are stored. Start the platform again.")


def _refill(settings: Settings, log: Log, since_ms: int, still: Alone) -> int:
    log.create_topics(topics.ALL)
    clickhouse = open_clickhouse(settings.analytics)
    sources = [
        TopicPartition(topic, n) for topic in WITH_ROWS for n in range(log.partitions(topic))
    ]
    stored = 0

    def progress(tp: TopicPartition, rows: int) -> None:
        nonlocal stored
        stored += rows
        say(f"{stored:>12,} rows, now in {tp.topic}, partition {tp.partition}")

    timeout = settings.analytics.insert_timeout if clickhouse.in_process else None
    patience = Patience(timeout, None, sure=still)
    in_cluster = isinstance(settings.log, KafkaSettings)
    return refill(
        log, clickhouse.client(), sources, since_ms, progress, patience, in_cluster=in_cluster
    )


def _start_ms(text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--from {text!r} is not a day, such as 2026-11-18") from None
    return int(datetime.combine(day, time(), tzinfo=UTC).timestamp() * 1000)
