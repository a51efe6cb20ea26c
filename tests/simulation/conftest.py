"""Quiet logs: a simulated disk is full more often than anyone wants to read."""

import logging
from collections.abc import Iterator

import pytest
import structlog


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --seed nothing but that seed is run."""
    if config.getoption("--seed") is not None:
        items[:] = [item for item in items if "seeds" in getattr(item, "fixturenames", ())]


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
