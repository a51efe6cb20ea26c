"""The adapters of the log port that the conformance suite runs over."""

from pathlib import Path

from connectors.log import LogSettings, open_log
from connectors.log.port import Log

PARTITIONS = 4

# Factories by name: given a directory of its own, each opens the same log every time it is called
# with it, also from another process.
FACTORIES = {"sqlite": "tests.support.log_adapters:open_sqlite"}


def open_sqlite(directory: Path) -> Log:
    # Small segments, so that every test of the suite crosses some.
    return open_log(LogSettings(directory / "log", PARTITIONS, segment_bytes=256 * 1024))
