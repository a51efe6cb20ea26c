"""Durable appends of many requests at once, awaited on the event loop."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from connectors.log.port import Entry, Log, TopicPartition
from sealwax.errors import LogAwayError, NotConfirmedError

# No group is larger, so that the first of it does not wait long for the bytes of the last.
_GROUP_RECORDS: Final = 2_000
_GROUP_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Waiting:
    """Entries of one request, and who waits for them."""

    entries: Sequence[Entry]
    done: "asyncio.Future[Sequence[int]]"


@dataclass(slots=True)
class _Partition:
    """What waits for a partition's next append."""

    waiting: list[_Waiting] = field(default_factory=list)
    busy: bool = False


class Appends:
    """Collects what requests append while the append before is on its way to the disk.

    One append per partition is under way at a time: each group is as large as the disk is slow,
    and one call from the log's thread wakes all its requests. Partitions go apart, since on Kafka
    each has a broker of its own, and one that hangs is nothing to the others.
    """

    def __init__(self, log: Log, timeout: timedelta) -> None:
        """Must be made on the event loop that awaits the appends.

        Args:
            log: Where to. It answers by itself while another process holds it; `timeout` should be
                longer than that takes.
            timeout: How long a request waits for its answer.
        """
        self._log = log
        self._timeout_s = timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._partitions: dict[TopicPartition, _Partition] = {}

    async def append(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        """Appends entries of one partition; returns their offsets once they are durable.

        Raises:
            StorageFullError: The disk is full, or its reserve is reached.
            LogClosedError: The process is stopping.
            OSError: The log cannot be written, or another process held it for too long.
            NotConfirmedError: The log has not said it; the entries may be durable, or become it.
        """
        waiting = _Waiting(entries, self._loop.create_future())
        tp = TopicPartition(topic, entries[0].partition)
        state = self._partitions.get(tp)
        if state is None:
            state = self._partitions[tp] = _Partition()
        state.waiting.append(waiting)
        if not state.busy:
            state.busy = True
            # Not at once: requests that the loop reads in the same round go together.
            self._loop.call_soon(self._flush, tp)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting.done
        except TimeoutError as error:
            if not waiting.done.cancelled():
                raise  # the log's own: nothing was stored
            if waiting in state.waiting:
                state.waiting.remove(waiting)  # the log never saw it
                raise
            raise NotConfirmedError("the disk did not answer in time") from error

    def _flush(self, tp: TopicPartition) -> None:
        state = self._partitions[tp]
        if not state.waiting:
            state.busy = False
            return
        group, entries = self._take(state)

        def on_durable(result: Sequence[int] | Exception) -> None:
            self._loop.call_soon_threadsafe(self._settle, tp, group, result)

        try:
            self._log.append(tp.topic, entries, on_durable)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            self._settle(tp, group, error)

    @staticmethod
    def _take(state: _Partition) -> tuple[list[_Waiting], list[Entry]]:
        group: list[_Waiting] = []
        entries: list[Entry] = []
        size = 0
        for waiting in state.waiting:
            group.append(waiting)
            entries.extend(waiting.entries)
            size += sum(len(entry.value or b"") for entry in waiting.entries)
            if len(entries) >= _GROUP_RECORDS or size >= _GROUP_BYTES:
                break
        del state.waiting[: len(group)]
        return group, entries

    def _settle(
        self, tp: TopicPartition, group: Sequence[_Waiting], result: Sequence[int] | Exception
    ) -> None:
        first = 0
        for waiting in group:
            after = first + len(waiting.entries)
            if waiting.done.done():
                pass  # its client went away; the entries are in the log all the same
            elif isinstance(result, Exception):
                waiting.done.set_exception(result)
            else:
                waiting.done.set_result(result[first:after])
            first = after
        if isinstance(result, (TimeoutError, NotConfirmedError)):
            self._refuse(self._partitions[tp].waiting)
        self._flush(tp)

    @staticmethod
    def _refuse(behind: list[_Waiting]) -> None:
        """Who waits for the next append would wait as long for the same; the log never saw them."""
        for waiting in behind:
            if not waiting.done.done():
                waiting.done.set_exception(LogAwayError("the log does not answer"))
        behind.clear()
