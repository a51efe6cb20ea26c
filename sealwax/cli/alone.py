"""Commands that must not run beside a flow, or beside themselves."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from connectors.log import KafkaSettings
from connectors.log.ownership import FileOwnership
from connectors.log.port import Log
from sealwax.config import Settings


@contextmanager
def alone(settings: Settings, log: Log, name: str, numbers: Sequence[int]) -> Iterator[None]:
    """Holds these partition numbers of a flow, or of a name that only commands have.

    On Kafka all of them, on every machine: a process of the flow that starts meanwhile waits.

    Raises:
        OwnedElsewhereError: Another process has them here.
        ConfigurationError: One has some of them on another machine.
    """
    with closing(FileOwnership(settings.data_dir / "locks", name)) as ownership:
        ownership.acquire(numbers)
        if not isinstance(settings.log, KafkaSettings):
            yield
            return
        # Imported when asked for: the client library takes a tenth of a second.
        from connectors.log.kafka.alone import alone as alone_in_cluster  # noqa: PLC0415
        from connectors.log.kafka.log import KafkaLog  # noqa: PLC0415

        assert isinstance(log, KafkaLog)  # noqa: S101 - what these settings open
        with alone_in_cluster(log, name, settings.session):
            yield
