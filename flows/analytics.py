"""Analytics: what happened, from the log into ClickHouse, each event exactly once."""

from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.clickhouse.io import ClickHouseSink, EventsSource, FlushSource
from connectors.clickhouse.repair import repair
from connectors.flow_process import FlowProcess
from connectors.log.dead import append_dead, dead_entry
from connectors.log.port import Record, TopicPartition
from sealwax import config
from sealwax.model import topics
from sealwax.store.analytics.embedded import EmbeddedClickHouse
from sealwax.store.analytics.socket import AnalyticsServer

NAME = "analytics"


@dataclass(frozen=True)
class Ports:
    """What the flow is plugged into.

    Attributes:
        events: Records of `email.events` and the delay topics.
        flushes: When to insert what is there.
        clickhouse: Where rows go.
    """

    events: Source[Any]
    flushes: Source[Any]
    clickhouse: Sink[Any]


def build(ports: Ports) -> Dataflow:
    """The analytics graph over the given ports."""
    flow = Dataflow(NAME)
    events = op.input("events", flow, ports.events)
    flushes = op.input("flushes", flow, ports.flushes)
    op.output("clickhouse", op.merge("items", events, flushes), ports.clickhouse)
    return flow


def flow() -> Dataflow:
    """The flow as `python -m bytewax.run flows.analytics` runs it."""
    settings = config.start(NAME)
    process = FlowProcess(NAME, settings.data_dir, settings.log)
    clickhouse = EmbeddedClickHouse(settings.analytics_dir)

    def bury(record: Record, reason: str, detail: str) -> None:
        append_dead(process.log, dead_entry(record, reason, detail, flow=NAME))

    sources = [
        TopicPartition(topic, n)
        for topic in (topics.EVENTS, *topics.RETRY)
        for n in process.numbers
    ]
    positions = repair(process.log, clickhouse.client(), sources, bury, process.suspects)
    server = AnalyticsServer(settings.analytics_socket, clickhouse.runner)
    process.on_close(server.close)
    return build(
        Ports(
            events=EventsSource(process.log, positions, process, process.suspects),
            flushes=FlushSource(process),
            clickhouse=ClickHouseSink(process.log, clickhouse.client, bury, process.suspects),
        )
    )
