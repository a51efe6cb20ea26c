"""What ClickHouse holds of a platform that has stopped, beside what its log holds.

A process opens one ClickHouse directory in its life, so the look is a process of its own:
python -m tests.support.stored DATA_DIR [CLICKHOUSE_URL]
"""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from clickhouse_connect.driver.client import Client

from connectors.records import WITH_ROWS, row_of
from sealwax.store.analytics.embedded import EmbeddedClickHouse
from sealwax.store.analytics.server import ClickHouseServer
from tests.support.log_view import opened, records

ROOT = Path(__file__).parents[2]
_PLACES = "SELECT _topic, _partition, _offset, toString(kind) FROM sealwax.events ORDER BY ALL"
_BY_KIND = "SELECT toString(kind), count() FROM sealwax.events GROUP BY kind ORDER BY kind"
_ROLLED_UP = "SELECT toString(kind), sum(n) FROM sealwax.stats_hourly GROUP BY kind ORDER BY kind"


class Stored(NamedTuple):
    """Rows that should be the same.

    Attributes:
        missing: Rows of the log that ClickHouse does not have: [topic, partition, offset, kind].
        extra: Rows that ClickHouse has and the log has not, or has once more.
        rows: Rows by kind.
        rolled_up: The same by the roll-up.
    """

    missing: list[Any]
    extra: list[Any]
    rows: dict[str, int]
    rolled_up: dict[str, int]

    @property
    def total(self) -> int:
        """Rows in all."""
        return sum(self.rows.values())


def stored(data_dir: Path, *url: str) -> Stored:
    """The comparison, with a server where there is a URL; the platform must have stopped."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.stored", str(data_dir), *url],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return Stored(**json.loads(run.stdout.splitlines()[-1]))


def main(data_dir: Path, url: str = "") -> None:
    client = (
        ClickHouseServer(url, timedelta(minutes=1)).client()
        if url
        else EmbeddedClickHouse(data_dir / "clickhouse").client()
    )
    held = [tuple(row) for row in client.query(_PLACES).result_rows]
    with opened(data_dir) as log:
        logged = {
            (record.topic, record.partition, record.offset, orjson.loads(row)["kind"])
            for record in records(log, *WITH_ROWS)
            if (row := row_of(record))
        }
    twice = len(held) - len(set(held))
    found = Stored(
        missing=sorted(logged - set(held))[:20],
        extra=[*sorted(set(held) - logged)[:20], *([f"{twice} rows twice"] if twice else [])],
        rows=_counts(client, _BY_KIND),
        rolled_up=_counts(client, _ROLLED_UP),
    )
    print(json.dumps(found._asdict()))


def _counts(client: Client, query: str) -> dict[str, int]:
    return {row[0]: row[1] for row in client.query(query).result_rows}


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
