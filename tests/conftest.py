"""Options of the suite."""

import signal
from collections.abc import Iterator, Mapping

import pytest

from tests.support.kafka import Cluster, running_kafka
from tests.support.valkey import Valkey, running_valkey


def pytest_configure() -> None:
    """Processes that tests start take Ctrl-C, also where this one runs in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make soak` runs each proof in full, `make test` with few rounds."""
    parser.addoption("--soak", action="store_true", help="run the proofs in full")
    parser.addoption(
        "--seed", type=int, help="run this seed of tests/simulation alone, and print what happens"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives each of the processes of `pytest -n` as many long tests to begin with as the others."""
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    whole = [item for item in items if item.get_closest_marker("e2e")]
    rest = [item for item in items if not item.get_closest_marker("e2e")]
    if count > 1:
        bounds = [len(rest) * n // count for n in range(count + 1)]
        parts = [[*whole[n::count], *rest[bounds[n] : bounds[n + 1]]] for n in range(count)]
        items[:] = [item for part in parts for item in part]


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the proofs run in full."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def unhurried(soak: bool) -> Mapping[str, str]:
    """For proofs that nothing comes twice where no process is given up.

    One that a busy machine stalls for longer than its membership lasts is, and then what was in its
    sessions may come twice. `make soak` has the machine for itself.
    """
    return {} if soak else {"SEALWAX_KAFKA_SESSION_TIMEOUT": "30s"}


@pytest.fixture(scope="session")
def kafka() -> Iterator[Cluster]:
    """One Kafka broker for the whole run; each test has topics and groups of its own names."""
    with running_kafka() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One Valkey server for the whole run, for tests that leave it running; each has its prefix."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server
