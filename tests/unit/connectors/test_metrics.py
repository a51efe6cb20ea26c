"""The figures that Prometheus gets, over HTTP, of a flow on a real log."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, Log, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import LogSource
from connectors.log.specs import dispatch
from connectors.metrics import FlowMetrics, serve_metrics
from sealwax import clock
from sealwax.errors import LogAwayError
from sealwax.model import topics
from sealwax.model.topics import Stream
from tests.support.lifecycle import Running

READY = TopicPartition(topics.ready(Stream.TRANSACTIONAL), 0)
RETRY = TopicPartition(topics.retry(Stream.TRANSACTIONAL, "1m"), 0)
SENDABLE = "sealwax_sendable_records"
DASHBOARDS = (Path(__file__).parents[3] / "deploy/grafana/dashboards").glob("*.json")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", 2))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


class Flow:
    """Dispatch without its dataflow: what it read, and what its lanes would say."""

    def __init__(self, log: Log) -> None:
        self.settling = Settling(log, dispatch(), [0], timer=False)
        self.limited: dict[str, int] = {}
        self.later: dict[str, int] = {}
        self.source = LogSource(self.settling, Running(), one_outcome=True)
        self.parts = {
            tp: self.source.build_part("log", f"{tp.topic}/{tp.partition}", None)
            for tp in (READY, RETRY)
        }

    def read(self, tp: TopicPartition = READY) -> int:
        return len(self.parts[tp].next_batch())

    def metrics(self) -> FlowMetrics:
        totals = {"sealwax_leases": lambda: 3, "sealwax_in_doubt": lambda: 2}
        return FlowMetrics(self.settling, lambda: (self.limited, self.later), totals)


def fill(log: Log, count: int, tp: TopicPartition = READY) -> None:
    log.append_wait(tp.topic, [Entry(tp.partition, b"k", b"%d" % n) for n in range(count)])


@contextmanager
def served(flow: Flow) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    stop = serve_metrics(flow.metrics(), "dispatch", "127.0.0.1", port)
    try:
        yield port
    finally:
        stop()


def samples(flow: Flow) -> list[Sample]:
    with served(flow) as port:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def asked(flow: Flow) -> dict[tuple[str, ...], float]:
    """Name and values of labels, by the labels' names -> value."""
    return {
        (sample.name, *(v for _, v in sorted(sample.labels.items()))): sample.value
        for sample in samples(flow)
    }


def test_a_backlog_counts_whether_it_was_read_or_not_and_only_of_owned_partitions(log):
    fill(log, 500)
    fill(log, 70, TopicPartition(READY.topic, 1))
    flow = Flow(log)
    assert asked(flow)[SENDABLE, "transactional"] == 500
    read = flow.read()
    assert 0 < read < 500
    said = asked(flow)
    assert said[SENDABLE, "transactional"] == 500
    assert said[SENDABLE, "marketing"] == 0
    assert said["sealwax_unsettled_records", "dispatch", READY.topic] == read
    assert said["sealwax_unsettled_records", "dispatch", topics.READY[1]] == 0
    flow.settling.settler(READY).settle(range(read))
    assert asked(flow)[SENDABLE, "transactional"] == 500 - read


def test_a_backlog_whose_lanes_wait_for_limits_is_nothing_to_send(log):
    fill(log, 500)
    flow = Flow(log)
    read = flow.read()
    flow.limited = {Stream.TRANSACTIONAL: read}
    assert asked(flow)[SENDABLE, "transactional"] == 0
    flow.limited = {Stream.TRANSACTIONAL: read // 2}
    assert asked(flow)[SENDABLE, "transactional"] == pytest.approx(250, abs=1)
    flow.limited, flow.later = {}, {Stream.TRANSACTIONAL: read}
    assert asked(flow)[SENDABLE, "transactional"] == 500 - read


def test_the_oldest_is_the_oldest_that_is_not_settled_also_while_it_waits_in_a_delay_topic(
    log, monkeypatch
):
    flow = Flow(log)
    name = ("sealwax_oldest_unsettled_seconds", "dispatch")
    assert asked(flow)[name] == 0
    began_ms = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: began_ms)
    fill(log, 1)
    flow.read()
    monkeypatch.setattr(clock, "now_ms", lambda: began_ms + 30_000)
    fill(log, 1, RETRY)
    assert flow.read(RETRY) == 0  # it is held for a minute
    monkeypatch.setattr(clock, "now_ms", lambda: began_ms + 80_000)
    assert asked(flow)[name] == 80
    flow.settling.settler(READY).settle([0])
    assert asked(flow)[name] == 50


def test_of_records_that_one_read_brings_the_oldest_is_told_by_its_own_stamp(log, monkeypatch):
    began_ms = clock.now_ms()
    for seconds in range(0, 50, 10):
        monkeypatch.setattr(clock, "now_ms", lambda ahead=seconds: began_ms + ahead * 1_000)
        fill(log, 1)
    flow = Flow(log)
    assert flow.read() == 5
    name = ("sealwax_oldest_unsettled_seconds", "dispatch")
    for settled, age in enumerate((40, 30, 20, 10, 0)):
        assert asked(flow)[name] == age
        flow.settling.settler(READY).settle([settled])


def test_a_partition_that_is_not_read_is_shown_and_its_backlog_is_nothing_to_send(log):
    fill(log, 5)
    flow = Flow(log)
    flow.settling.stop(READY, "records are gone")
    said = asked(flow)
    assert said["sealwax_partition_stopped", "0", READY.topic] == 1
    assert said["sealwax_partition_stopped", "0", RETRY.topic] == 0
    assert said[SENDABLE, "transactional"] == 0


def test_while_the_log_is_away_what_is_not_known_is_left_out(log, monkeypatch):
    fill(log, 5)
    flow = Flow(log)
    flow.read()

    def away(*_: object) -> None:
        raise LogAwayError("Kafka is away")

    monkeypatch.setattr(type(log), "end_offsets", away)
    said = asked(flow)
    assert not [name for name, *_ in said if name == SENDABLE]
    assert said["sealwax_unsettled_records", "dispatch", READY.topic] == 5
    assert "process_resident_memory_bytes" in {name for name, *_ in said}


def test_an_address_that_is_in_use_ends_the_process_with_a_sentence(log):
    flow = Flow(log)
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(
            SystemExit, match=r"dispatch: metrics cannot be .* SEALWAX_METRICS: .*in use"
        ),
    ):
        serve_metrics(flow.metrics(), "dispatch", "127.0.0.1", other.getsockname()[1])


def test_what_was_counted_since_the_process_began_is_told(log):
    told = asked(Flow(log))
    assert told["sealwax_leases_total",] == 3
    assert told["sealwax_in_doubt_total",] == 2


def test_each_query_of_a_dashboard_asks_for_figures_and_labels_that_are_served(log):
    served_labels = {sample.name: set(sample.labels) for sample in samples(Flow(log))}
    asked_for = [
        target["expr"]
        for dashboard in DASHBOARDS
        for panel in json.loads(dashboard.read_text())["panels"]
        for target in panel["targets"]
        if target["datasource"]["uid"] == "prometheus"
    ]
    assert any(SENDABLE in query for query in asked_for)
    for query in asked_for:
        # Nothing else of the language is known here, so that nothing goes unseen.
        form = re.fullmatch(r"(?:sum|max)(?: by \((\w+)\) )?\((\w+)\)", query)
        assert form, query
        label, name = form.groups()
        assert name in served_labels, query
        assert label is None or label in served_labels[name], query
