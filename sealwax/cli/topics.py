"""`sealwax topics`: the topics of an installation in a Kafka cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import Annotated

from cyclopts import App, Parameter

from connectors.log import KafkaSettings, moved, open_log
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.replicas import TOOL, reassignment
from connectors.log.kafka.setup import APPLY, found_differences, how_to_mend
from connectors.log.kafka.setup import apply as mend
from sealwax.cli import preflight
from sealwax.cli.output import complain, plain, say, say_table
from sealwax.config import Settings, load
from sealwax.config.environment import warnings_of
from sealwax.errors import ConfigurationError
from sealwax.model.topics import ALL_OF_KAFKA
from sealwax.policy.topic_layout import MOST_PARTITIONS

app = App(name="topics", help="Topics in Kafka: list, apply.")


@app.command(name="list")
def list_() -> None:
    """List the topics, and what about them is not as it has to be."""
    with _opened(load()) as log:
        described = log.topics.describe([spec.name for spec in ALL_OF_KAFKA])
        wrong = found_differences(log)
        rows = []
        for spec in ALL_OF_KAFKA:
            found = described.get(spec.name)
            differs = "; ".join(
                f"{one.what} {one.found!r}, needs {one.wanted!r}"
                for one in wrong.get(spec.name, ())
            )
            rows.append((
                plain(log.settings.namespace + spec.name),
                str(found.partitions) if found else "",
                str(found.replication) if found else "",
                plain(differs) if found else "is not there",
            ))  # fmt: skip
    say_table(("topic", "partitions", "copies", "differs"), rows)
    if any(row[-1] for row in rows):
        say(f"To mend them: {how_to_mend(wrong)}.")


@app.command
def apply(
    *,
    partitions: Annotated[
        int | None,
        Parameter(help="So many for every topic; without it as many as the largest has."),
    ] = None,
) -> None:
    """Make missing topics, and change what is not as it has to be. Flows may run meanwhile.

    Partitions are only ever added. The keys of new records go to other partitions from then on.
    """
    if partitions is not None and not 1 <= partitions <= MOST_PARTITIONS:
        raise ConfigurationError(f"--partitions must be 1 to {MOST_PARTITIONS}")
    settings = load()
    with _opened(settings) as log:
        changes = 0
        for change in mend(log, partitions):
            changes += 1
            say(plain(change))
        copies = reassignment(log)
        if copies:
            _say_how_to_copy(settings, log.settings, copies)
    if not changes and not copies:
        say("nothing to change")


def _say_how_to_copy(settings: Settings, kafka: KafkaSettings, reassigned: bytes) -> None:
    preflight.check_directory(settings.data_dir)
    path = settings.data_dir / "reassignment.json"
    path.write_bytes(reassigned)
    file, client = quote(str(path)), " --command-config FILE" if kafka.client else ""
    command = f"{TOOL} --bootstrap-server {kafka.bootstrap} --reassignment-json-file {file}{client}"
    say(
        f"Topics have fewer than {kafka.replication} copies. Kafka's own tool makes more, while "
        f"flows run:\n\n  {command} --execute\n  {command} --verify\n\n"
        f"When the second one says that all is complete, run `{APPLY}` once more."
    )


@contextmanager
def _opened(settings: Settings) -> Iterator[KafkaLog]:
    for warning in warnings_of(settings):
        complain(warning)
    if not isinstance(settings.log, KafkaSettings):
        raise ConfigurationError(
            "topics of the embedded log need no care; for those in Kafka set "
            "KAFKA_BOOTSTRAP_SERVERS"
        )
    # Topics that are being filled are not as they have to be, which keeps flows from them.
    moved.refuse_unfinished(settings.embedded_log.directory)
    log = open_log(settings.log)
    try:
        if isinstance(log, KafkaLog):
            yield log
    finally:
        log.close()
