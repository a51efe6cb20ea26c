"""Commands that must not run beside a flow, or beside themselves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from connectors.log import KafkaSettings
from connectors.log.ownership import FileOwnership
from connectors.log.port import Log
from sealwax.config import Settings

# Waits until a command is sure that it is still alone; whether it is.
Alone = Callable[[], bool]

NOT_ALONE = (
    "the command stood still, or could not reach Kafka, for so long that others may work in its "
    "place by now, so it has ended: stop them, and call it again"
)


@contextmanager
def alone(settings: Settings, log: Log, name: str, numbers: Sequence[int]) -> Iterator[Alone]:
    """Holds these partition numbers of a flow, or of a name that only commands have.

    On Kafka all of them, on every machine: a process of the flow that starts meanwhile waits.
    One that has them all may lose them by standing still, so it has to ask again and again.

    Raises:
        OwnedElsewhereError: Another process has them here.
        ConfigurationError: One has some of them on another machine.
    """
    with closing(FileOwnership(settings.data_dir / "locks", name)) as ownership:
        ownership.acquire(numbers)
        if not isinstance(settings.log, KafkaSettings):
            yield lambda: True
            return
        # Imported when asked for: the client library takes a tenth of a second.
        from connectors.log.kafka.alone import alone as alone_in_cluster  # noqa: PLC0415
        from connectors.log.kafka.log import KafkaLog  # noqa: PLC0415

        assert isinstance(log, KafkaLog)  # noqa: S101 - what these settings open
        with alone_in_cluster(log, name, settings.session) as still:
            yield still
