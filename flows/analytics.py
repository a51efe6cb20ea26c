"""Analytics: what happened, from the log into ClickHouse, each event exactly once."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import bytewax.operators as op
import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.clickhouse.burial import Burial
from connectors.clickhouse.io import ClickHouseSink, EventsSource, FlushSource
from connectors.clickhouse.patience import first_client, opened, patience
from connectors.clickhouse.ranges import followed
from connectors.clickhouse.repair import repair
from connectors.flow_process import FlowProcess
from connectors.log.port import TopicPartition
from connectors.log.retention import Kept
from connectors.records import WITH_ROWS
from sealwax import config
from sealwax.config import Settings
from sealwax.model import topics
from sealwax.store.analytics.opening import open_clickhouse

NAME = "analytics"
_OWN_CLICKHOUSE = (
    "events go into a ClickHouse of this machine alone: where others may take analytics over, give "
    "all of them the same CLICKHOUSE_URL"
)

logger = structlog.get_logger(__name__)


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


def kept(settings: Settings) -> dict[str, Kept]:
    """How long events, dead records, their bodies and control records are kept, by topic."""
    flows = ("render", "dispatch")
    return {
        topics.EVENTS: Kept((NAME,), read_back=flows, least_ms=settings.events_kept_ms),
        topics.DEAD: Kept((NAME,), read_back=flows, least_ms=settings.dead_kept_ms),
        topics.BODY: Kept(named_by=topics.DEAD),
        topics.CONTROL: Kept(compacted=True),
    }


def flow() -> Dataflow:
    """The flow as `python -m bytewax.run flows.analytics` runs it."""
    settings = config.start(NAME)
    # It compares a roll-up with its events: another one that inserts meanwhile would not agree.
    process = FlowProcess(NAME, settings.data_dir, settings.log, settings.session, alone=True)
    stored = settings.analytics
    if process.owner.writers and not stored.url:
        logger.warning(_OWN_CLICKHOUSE)
    clickhouse = opened(partial(open_clickhouse, stored), stored.repair_timeout)
    waits = patience(clickhouse, stored.insert_timeout, stored.repair_timeout, process)
    client = first_client(clickhouse, waits)

    sources = [TopicPartition(topic, n) for topic in WITH_ROWS for n in process.numbers]
    bury = Burial(process.log, sources, waits.for_owner)
    # In a log of its own nobody makes a topic anew, and a copy of it into a cluster is another one.
    follows = followed(process.log, sources, in_cluster=bool(process.owner.writers))
    positions = repair(process.log, client, sources, bury, waits, follows, process.suspects)
    process.let_go_of(kept(settings), settings.disk_is_low)
    process.on_close(clickhouse.answer(stored.socket))
    return build(
        Ports(
            events=EventsSource(process.log, positions, process, process.suspects),
            flushes=FlushSource(process),
            clickhouse=ClickHouseSink(
                process.log, clickhouse.client, bury, waits, follows, process.suspects
            ),
        )
    )
