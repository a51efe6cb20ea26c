"""Runs the suite of the log port over every adapter."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.log.port import Log
from sealwax.model.topics import TopicSpec
from tests.support.log_adapters import FACTORIES, use_broker
from tests.support.log_process import open_by_name
from tests.support.log_reading import COMPACTED, TOPIC


@pytest.fixture(params=sorted(FACTORIES))
def factory(request: pytest.FixtureRequest) -> str:
    """Name of the adapter's factory, for processes."""
    if request.param == "kafka":
        cluster = request.getfixturevalue("kafka")
        use_broker(request.getfixturevalue("tmp_path"), cluster.bootstrap)
    return FACTORIES[request.param]


@pytest.fixture
def open_again(factory: str, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """Opens the same log once more; all are closed in the end."""
    opened: list[Log] = []

    def again() -> Log:
        opened.append(open_by_name(factory, tmp_path))
        return opened[-1]

    yield again
    for log in opened:
        log.close()


@pytest.fixture
def log(open_again: Callable[[], Log]) -> Log:
    """A log with the topic `orders` and the compacted topic `settings`."""
    made = open_again()
    made.create_topics([TopicSpec(TOPIC), TopicSpec(COMPACTED, compacted=True)])
    return made
