"""The API process: `python -m sealwax.api`."""

import asyncio
import gc
import signal
import sys

import structlog
import uvloop

from connectors.log import KafkaSettings, moved, open_log
from connectors.log.port import Log
from sealwax import config
from sealwax.api.app import make_app
from sealwax.api.server import check_free, serve
from sealwax.api.services import ApiTimeouts, make_services
from sealwax.config import Settings
from sealwax.errors import SealwaxError
from sealwax.model import topics
from sealwax.store.analytics.opening import open_analytics
from sealwax.store.processes import ProcessFiles
from sealwax.store.relational import open_store

NAME = "api"
logger = structlog.get_logger("sealwax.api")


def main() -> None:
    """Runs the API until SIGTERM or SIGINT; status 1 and one sentence where it cannot start."""
    try:
        settings = config.start(NAME)
        check_free(settings.http)  # first, so that a second start changes nothing
        uvloop.run(_run(settings))
    except (SealwaxError, OSError) as error:
        sys.exit(f"sealwax {NAME}: {error}")


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    processes = ProcessFiles(settings.data_dir)
    processes.mark_stopped(NAME)  # of a killed process of the same pid: 1 in containers
    store = open_store(settings.relational)
    log = open_log(settings.accepting_log)
    analytics = open_analytics(settings.analytics)
    try:
        _set_up(settings, log)
        timeouts = ApiTimeouts(body=settings.http_body_timeout, append=settings.append_timeout)
        services = make_services(
            log,
            store,
            analytics,
            processes,
            timeouts,
            idempotency_keys_kept_ms=settings.idempotency_keys_kept_ms,
        )

        def ready() -> None:
            # What lives as long as the process is left out of collections, which took 50 ms of
            # every second under load.
            gc.collect()
            gc.freeze()
            processes.mark_ready(NAME)
            logger.info("ready", url=settings.http.url)

        app = make_app(services)
        await serve(app, settings.http, settings.http_header_timeout, stop, ready)
        services.events.close()
    finally:
        # In a thread: what waits for the log gets its answer on this loop.
        await asyncio.to_thread(log.close)
        analytics.close()
        store.close()
        processes.mark_stopped(NAME)
        logger.info("stopped")


def _set_up(settings: Settings, log: Log) -> None:
    """Makes missing topics. On Kafka it looks at all of them as flows do: it may start first."""
    kafka = settings.accepting_log
    if not isinstance(kafka, KafkaSettings):
        log.create_topics(topics.ALL)
        return
    # Imported when asked for: the client library takes a tenth of a second.
    from connectors.log.kafka.setup import set_up  # noqa: PLC0415

    moved.refuse_unfinished(settings.embedded_log.directory)
    set_up(kafka, log)


if __name__ == "__main__":
    main()
