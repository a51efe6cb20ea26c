"""Records of events and delay topics as a source, and ClickHouse as a sink."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import NamedTuple

import structlog
from bytewax.inputs import (
    DynamicSource,
    FixedPartitionedSource,
    StatefulSourcePartition,
    StatelessSourcePartition,
)
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from typing_extensions import override

from connectors.clickhouse.burial import Burial
from connectors.clickhouse.commits import Commits
from connectors.clickhouse.lost import say_stopped
from connectors.clickhouse.patience import Patience, StoppedWhileAwayError, patiently
from connectors.clickhouse.ranges import FollowedOf
from connectors.clickhouse.repair import store_missing
from connectors.clickhouse.rows import Line, insert, line_of, position_of
from connectors.log.lost import why_lost
from connectors.log.port import Committed, Log, Record, TopicPartition
from connectors.log.source import Lifecycle, partition_name
from connectors.log.suspects import Suspects
from sealwax import clock
from sealwax.errors import LogPositionError

_WAKE_MS = 20
_READ_RECORDS = 2_000
_READ_BYTES = 2 * 1024 * 1024
# An insert costs some 50 ms of CPU, merges included, however few its rows are. So few are inserted
# soon, to be readable soon; many are gathered a little longer: at 3,000 rows/s measured 60 us a row
# instead of 87, and readable 1.3 s after they were durable at the latest instead of 0.5.
_FLUSH_ROWS = 20_000
_FLUSH_BYTES = 12 * 1024 * 1024  # about as many rows of an attempt
_FLUSH_EVERY_S = 0.4
_FEW_ROWS = 400
_GATHER_S = 1.0
_QUIET_S = 0.3

logger = structlog.get_logger(__name__)


class Flush(NamedTuple):
    """It is time to insert what is there."""


Item = Record | Flush


class _EventsPartition(StatefulSourcePartition[Item, None]):
    def __init__(
        self,
        log: Log,
        tp: TopicPartition,
        position: int,
        process: Lifecycle,
        suspects: Suspects | None,
    ) -> None:
        self._tp = tp
        self._suspects = suspects
        self._waiting: deque[Record] = deque()  # read, and it is not their turn yet
        self._log = log
        self._reader = log.reader(tp, position)
        self._read_to = position
        self._stopped = False
        self._process = process
        self._busy = False

    @override
    def next_batch(self) -> list[Item]:
        if self._process.draining():
            raise StopIteration
        self._process.running()
        if self._suspects is not None and self._suspects.careful:
            items = self._next_run(self._suspects)
        else:
            items = self._next()
        self._busy = bool(items)
        return items

    def _next(self) -> list[Item]:
        records = [*self._waiting, *self._read()]
        self._waiting.clear()
        if records and self._suspects is not None:
            self._suspects.reached(self._tp, records[-1].offset + 1)
        return list(records)

    def _next_run(self, suspects: Suspects) -> list[Item]:
        """A run of a careful process, inserted by itself (R16)."""
        if not self._waiting:
            self._waiting.extend(self._read())
        run: list[Item] = []
        while self._waiting and suspects.admit(position_of(self._waiting[0])):
            run.append(self._waiting.popleft())
        return [*run, Flush()] if run else []

    def _read(self) -> list[Record]:
        """The next records; none from where the log has lost some on (R4)."""
        if self._stopped:
            return []
        try:
            records = self._reader.read(_READ_RECORDS, _READ_BYTES)
        except LogPositionError as error:
            self._stop(str(error))
            return []
        if records and records[0].offset > self._read_to:
            first = self._log.start_offset(self._tp)
            lost = why_lost(self._read_to, first, records[0].offset)
            if lost:
                self._stop(lost)
                return []
        if records:
            self._read_to = records[-1].offset + 1
        return records

    def _stop(self, reason: str) -> None:
        self._stopped = True
        say_stopped(self._tp, reason)

    @override
    def next_awake(self) -> datetime | None:
        return None if self._busy else clock.wake_in(_WAKE_MS)

    @override
    def snapshot(self) -> None:
        """The group's committed ranges are the only truth about the position."""

    @override
    def close(self) -> None:
        self._reader.close()


class EventsSource(FixedPartitionedSource[Item, None]):
    """Reads each partition on from where the repair at start found its rows to be stored."""

    def __init__(
        self,
        log: Log,
        positions: Mapping[TopicPartition, int],
        process: Lifecycle,
        suspects: Suspects | None = None,
    ) -> None:
        self._log = log
        self._suspects = suspects
        self._process = process
        self._positions = {partition_name(tp): (tp, at) for tp, at in positions.items()}

    @override
    def list_parts(self) -> list[str]:
        return sorted(self._positions)

    @override
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _EventsPartition:
        tp, position = self._positions[for_part]
        return _EventsPartition(self._log, tp, position, self._process, self._suspects)


class _FlushPartition(StatelessSourcePartition[Item]):
    def __init__(self, process: Lifecycle) -> None:
        self._process = process
        self._flushed_at = clock.monotonic()

    @override
    def next_batch(self) -> list[Item]:
        if self._process.quiet(_QUIET_S):
            raise StopIteration
        self._process.running()  # also where every partition is stopped
        now = clock.monotonic()
        if now - self._flushed_at < _FLUSH_EVERY_S and not self._process.draining():
            return []
        self._flushed_at = now
        return [Flush()]

    @override
    def next_awake(self) -> datetime:
        return clock.wake_in(_WAKE_MS)


class FlushSource(DynamicSource[Item]):
    """Says to each worker's sink when to insert what it has; in a drain it ends last."""

    def __init__(self, process: Lifecycle) -> None:
        self._process = process

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _FlushPartition:
        return _FlushPartition(self._process)


class _ClickHousePartition(StatelessSinkPartition[Item]):
    def __init__(  # noqa: PLR0913, PLR0917 - what a sink has at hand
        self,
        commits: Commits,
        client: Client,
        bury: Burial,
        patience: Patience,
        suspects: Suspects | None,
        followed: FollowedOf,
        turn: AbstractContextManager[object],
    ) -> None:
        self._commits = commits
        self._client = client
        self._bury = bury
        self._patience = patience
        self._suspects = suspects
        self._followed = followed
        self._turn = turn
        self._given_up = False
        self._lines: list[Line] = []
        self._bytes = 0
        self._since = 0.0
        self._ranges: dict[TopicPartition, tuple[int, int]] = {}
        self._stored: dict[TopicPartition, Committed] = {}

    @override
    def write_batch(self, items: list[Item]) -> None:
        for item in items:
            if self._given_up:
                return
            if isinstance(item, Record):
                self._take(item)
                continue
            if self._commits.is_time_to_renew() and self._patience.sure():
                self._commits.renew()
            if not self._ranges:
                self._settle()
            elif self._is_due():
                self._flush()

    def _is_due(self) -> bool:
        return len(self._lines) < _FEW_ROWS or clock.monotonic() - self._since >= _GATHER_S

    def _take(self, record: Record) -> None:
        if not self._ranges:
            self._since = clock.monotonic()
        tp = TopicPartition(record.topic, record.partition)
        first, _ = self._ranges.get(tp, (record.offset, 0))
        self._ranges[tp] = (first, record.offset)
        if not self._followed[tp].fences.admits(record):
            return
        try:
            line = line_of(record, self._bury, self._suspects)
        except StoppedWhileAwayError:
            self._given_up = True
            self._ranges = {}
            return
        if line is not None:
            self._lines.append(line)
            self._bytes += max(len(line.json), len(record.value or b""))
        if len(self._lines) >= _FLUSH_ROWS or self._bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        """The ranges are committed before the insert: a start knows what to look for.

        Bytewax closes a sink whose write failed. What failed may be stored in part, so it is let
        go of before: the next start finds out, and `close` does not insert it once more.
        """
        lines, ranges, stored = self._lines, self._ranges, self._stored
        self._lines, self._bytes, self._ranges, self._stored = [], 0, {}, {}
        positions = {tp: self._followed[tp].at(a, b) for tp, (a, b) in ranges.items()}
        with self._turn:
            try:
                self._patience.for_owner()
                self._commits.commit(positions, durable=True)
                self._insert(lines, ranges)
            except StoppedWhileAwayError:
                # No other range may be committed over one that is uncertain: the next start looks.
                self._given_up = True
                return
        for tp in ranges:
            self._bury.done(tp)
        self._stored = stored | {tp: self._followed[tp].at(b + 1) for tp, (_, b) in ranges.items()}
        if self._suspects is not None and self._suspects.careful:
            self._settle()
            for tp, (_, last) in ranges.items():
                self._suspects.settled(tp, last + 1)

    def _insert(self, lines: list[Line], ranges: dict[TopicPartition, tuple[int, int]]) -> None:
        try:
            insert(self._client, lines, self._bury, self._patience)
        except ClickHouseError as error:
            if self._patience.stopped_within is None:
                raise
            logger.warning("an insert failed, looking at what is stored", error=str(error)[:300])
            rest = (lines, ranges, self._bury, self._patience)
            patiently(lambda: store_missing(self._client, *rest), self._patience)

    def _settle(self) -> None:
        """Where nothing follows, the last ranges are said to be done: no lag, nothing to repair.

        Need not be durable: without it the next start looks at ranges that are whole.
        """
        if self._stored and self._patience.sure():
            self._commits.commit(self._stored, durable=False)
        self._stored = {}

    @override
    def close(self) -> None:
        if self._ranges:
            self._flush()
        self._settle()


class ClickHouseSink(DynamicSink[Item]):
    """Inserts rows in batches. Guarantee: exactly once, with the repair at start.

    While a server is away a sink waits and its worker with it, so nothing more is read. When it is
    back, what the failed insert did not store is stored. Then nobody else may insert, since the
    roll-up is compared: sinks of a process take turns, and one process works on a database.
    """

    def __init__(
        self,
        log: Log,
        client: Callable[[], Client],
        bury: Burial,
        patience: Patience,
        followed: FollowedOf,
        suspects: Suspects | None = None,
    ) -> None:
        self._commits = Commits(log, followed.keys())
        self._client = client
        self._bury = bury
        self._patience = patience
        self._followed = followed
        self._suspects = suspects
        # In this process nothing is compared while it inserts.
        self._turn: AbstractContextManager[object] = (
            nullcontext() if patience.stopped_within is None else threading.Lock()
        )

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _ClickHousePartition:
        return _ClickHousePartition(
            self._commits,
            self._client(),
            self._bury,
            self._patience,
            self._suspects,
            self._followed,
            self._turn,
        )
