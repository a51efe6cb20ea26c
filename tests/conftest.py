"""Options of the suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make soak` runs each proof in full, `make test` with few rounds."""
    parser.addoption("--soak", action="store_true", help="run the proofs in full")


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the proofs run in full."""
    return bool(request.config.getoption("--soak"))
