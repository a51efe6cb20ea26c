"""`sealwax log`: work on the log that no process does by itself."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
from cyclopts import App

from connectors.log import KafkaSettings, moved
from connectors.log.copying import LogCopy, partitions_of
from connectors.log.kafka.log import KafkaLog
from connectors.log.moved import Moved
from connectors.log.ownership import FileOwnership
from connectors.log.sqlite.log import SqliteLog
from sealwax.cli import preflight
from sealwax.cli.output import complain, say
from sealwax.cli.supervisor import patience
from sealwax.config import Settings, load
from sealwax.config.environment import warnings_of
from sealwax.errors import ConfigurationError, OwnedElsewhereError
from sealwax.store.processes import NAMES, ProcessFiles

app = App(name="log", help="The log: copy it from the data directory to Kafka.")

_API = "api"


@app.command
def copy() -> None:
    """Copy the log of the data directory to the Kafka of KAFKA_BOOTSTRAP_SERVERS, and stay there.

    Stop the platform first. Mail on its way goes on from Kafka, at the same offsets. The copy can
    be interrupted and made again; the log in the data directory stays as it is.
    """
    settings = load()
    for warning in warnings_of(settings):
        complain(warning)
    target = settings.log
    if not isinstance(target, KafkaSettings):
        raise ConfigurationError("set KAFKA_BOOTSTRAP_SERVERS: the log is copied there")
    directory = settings.embedded_log.directory
    if not directory.is_dir():
        raise ConfigurationError(f"there is no log in {settings.data_dir}; set SEALWAX_DATA_DIR")
    note = moved.read(directory)
    if note is not None and note.done:
        say(f"The log was moved to {note} already. There is nothing left to do.")
        return
    wanted = Moved(target.bootstrap, target.namespace, done=False)
    if note is not None and note != wanted:
        raise ConfigurationError(
            f"a copy of this log to {note} was begun: end it, or delete its topics there and "
            f"{directory / 'moved'}"
        )
    with _stopped(settings), closing(SqliteLog(settings.embedded_log)) as source:
        number = partitions_of(source)
        if number != target.partitions:
            say(f"The topics get {number} partitions, as the log has, and not {target.partitions}.")
        with (
            _flows_stopped(settings.data_dir, number),
            closing(KafkaLog(replace(target, partitions=number))) as log,
        ):
            moved.write(directory, wanted)
            records = LogCopy(source, log, say, time.sleep).run()
            moved.write(directory, msgspec.structs.replace(wanted, done=True))
    say(
        f"{records:,} records are in Kafka, and the same as here. Start the platform with "
        "KAFKA_BOOTSTRAP_SERVERS as it is now, within a week: then Kafka forgets how far it was."
    )


@contextmanager
def _stopped(settings: Settings) -> Iterator[None]:
    """Keeps `up` away from the data directory; raises OwnedElsewhereError where it runs."""
    preflight.check_directory(settings.data_dir)
    with preflight.only_supervisor(settings.data_dir):
        preflight.wait_for_survivors(settings.data_dir, patience(settings))
        files = ProcessFiles(settings.data_dir)
        if files.ready(_API):
            raise OwnedElsewhereError("the API of this data directory", files.pid(_API))
        yield


@contextmanager
def _flows_stopped(data_dir: Path, partitions: int) -> Iterator[None]:
    """Keeps flows away; raises OwnedElsewhereError where one runs."""
    preflight.check_flows(data_dir)
    with ExitStack() as held:
        for flow in (name for name in NAMES if name != _API):
            ownership = FileOwnership(data_dir / "locks", flow)
            held.callback(ownership.close)
            ownership.acquire(range(partitions))
        yield
