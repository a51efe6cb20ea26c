"""The render graph over a real log and store, on one worker and two, and over a crash."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main
from typing_extensions import override

from connectors.log import LogSettings, open_log
from connectors.log.append import AppendSink, Outcome
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Log, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink
from connectors.records import decode_deliveries
from flows import render
from flows.operators.render import RenderPorts, RenderRequests
from sealwax import config
from sealwax.errors import UnreadableRecordError
from sealwax.model import topics
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url
from tests.support.lifecycle import UntilSettled
from tests.support.requested import append_requests
from tests.support.waiting import wait_until

COUNT = 600
READY = topics.ready(topics.Stream.TRANSACTIONAL)
REQUESTED = topics.requested(topics.Stream.TRANSACTIONAL)


class Here:
    def __init__(self, directory: Path) -> None:
        self.ids = append_requests(directory, COUNT)
        self.log: Log = open_log(LogSettings(directory / "log"))
        # What no render can read stands in between.
        self.bad = [Entry(n, b"k", b"no request " + os.urandom(3)) for n in (0, 1)]
        self.log.append_wait(REQUESTED, self.bad)
        self.store = open_store(
            RelationalSettings(sqlite_url(directory / "sealwax.db"), directory / "master.key")
        )
        self.ports: RenderPorts = render.render_ports(config.load(), self.store, self.log)

    def run(self, workers: int, *, breaks_after: int | None = None) -> int:
        """Runs the flow until all is settled; how many records it read."""
        settling = Settling(self.log, render.spec(self.log), range(4))
        writer = OutcomeWriter(settling)
        process = UntilSettled(settling, *topics.REQUESTED, idle=lambda: not writer.pending)
        rendering = RenderRequests(self.ports)
        read: Counter[str] = Counter()

        def counted(items: list[object]) -> list[Outcome]:
            read["records"] += len(items)
            return rendering(items)  # type: ignore[arg-type]  # what LogSource emits

        sink: DynamicSink[Outcome] = AppendSink(writer)
        ports = render.Ports(
            log=LogSource(settling, process, one_outcome=False),
            acks=AcksSource(settling, process),
            render=counted,
            outcomes=sink if breaks_after is None else BreakingSink(sink, breaks_after),
            settle=SettleSink(settling, process),
        )
        try:
            cluster_main(render.build(ports), [], 0, worker_count_per_proc=workers)
        finally:
            wait_until(lambda: not writer.pending, 10, "appends")
            settling.close()
        return read["records"]

    def written(self, topic: str) -> list[tuple[str, int]]:
        """Email and recipient of every record of a ready topic."""
        found = []
        for n in range(self.log.partitions(topic)):
            tp = TopicPartition(topic, n)
            values = [r.value or b"" for r in self.log.scan(tp, 0, self.log.end_offset(tp))]
            for delivery in decode_deliveries(values):
                assert not isinstance(delivery, UnreadableRecordError)
                found.append((delivery.email_id, delivery.rcpt_index))
        return found

    def count(self, topic: str) -> int:
        return sum(
            self.log.end_offset(TopicPartition(topic, n)) for n in range(self.log.partitions(topic))
        )

    def lag(self) -> int:
        return sum(self.log.lag("render", TopicPartition(REQUESTED, n)) for n in range(4))


class BreakingSink(DynamicSink[Outcome]):
    """Writes some outcomes and then fails: they become durable, and nobody is told."""

    def __init__(self, sink: DynamicSink[Outcome], outcomes: int) -> None:
        self._sink = sink
        self._outcomes = outcomes

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_BreakingPartition":
        return _BreakingPartition(
            self._sink.build(step_id, worker_index, worker_count), self._outcomes
        )


class _BreakingPartition(StatelessSinkPartition[Outcome]):
    def __init__(self, part: StatelessSinkPartition[Outcome], outcomes: int) -> None:
        self._part = part
        self._left = outcomes

    @override
    def write_batch(self, items: list[Outcome]) -> None:
        self._part.write_batch(items[: self._left])
        self._left -= len(items)
        if self._left <= 0:
            raise RuntimeError("the test's own failure")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path / "data")
    yield made
    made.log.close()
    made.store.close()


def test_mail_of_large_domains_is_written_once_though_their_number_of_keys_changed(here):
    """After a failure the same request may get another partition; what is there is found there."""
    here.ports = replace(here.ports, large_domains={f"d{n}.sink.test": 8 for n in range(10)})
    with pytest.raises(RuntimeError):
        here.run(2, breaks_after=300)
    here.ports = replace(here.ports, large_domains={f"d{n}.sink.test": 3 for n in range(10)})
    here.run(2)
    assert_each_once(here)


def assert_each_once(here: Here) -> None:
    assert sorted(here.written(READY)) == sorted((ident, 0) for ident in here.ids)
    assert here.count(topics.DEAD) == len(here.bad)
    assert here.count(topics.EVENTS) == COUNT + len(here.bad)
    assert here.lag() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_becomes_its_outcomes_and_is_settled(here, workers):
    assert here.run(workers) == COUNT + len(here.bad)
    assert_each_once(here)
    assert here.run(workers) == 0


@pytest.mark.parametrize("breaks_after", [1, 150, 450])
def test_after_a_failure_nothing_is_lost_and_nothing_is_written_twice(here, breaks_after):
    with pytest.raises(RuntimeError):
        here.run(1, breaks_after=breaks_after)
    assert 0 < here.count(READY) < COUNT
    here.run(1)
    assert_each_once(here)
