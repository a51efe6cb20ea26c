"""Dispatch: messages that are ready, or due again, to the servers of their recipients.

Three inputs meet in the lanes: what was read from the log, what sessions answered, and the time.
Acknowledgements of durable outcomes go back to the partitions that they settle.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.flow_process import FlowProcess
from connectors.log import specs
from connectors.log.outcomes import OutcomeWriter
from connectors.log.retention import Kept
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink
from connectors.metrics import FlowMetrics, serve_metrics
from connectors.smtp.bridge import SmtpBridge, Timers
from connectors.smtp.io import DecisionsSink, RepliesSource
from connectors.smtp.leases import Leases
from connectors.smtp.sites import Sites
from flows.operators.lane import Lane, LanePorts, waiting_in
from flows.operators.read import ReadDeliveries
from sealwax import clock, config
from sealwax.model import topics
from sealwax.smtp.engine import SmtpEngine
from sealwax.smtp.resolver import Resolver
from sealwax.store.limits import open_limits

NAME = "dispatch"
spec, NOT_HELD = specs.dispatch, specs.NOT_HELD
# A lease looks for the outcome of its attempt for as long as an attempt may last, and longer.
_LEASE_MS = 2 * 3_600_000
KEPT = dict.fromkeys(topics.READY, Kept(sources=(NAME,), read_back_whole=("render",))) | (
    dict.fromkeys(
        topics.RETRY, Kept(sources=(NAME, "analytics"), read_back=(NAME,), least_ms=_LEASE_MS)
    )
)


@dataclass(frozen=True)
class Ports:
    """What the flow is plugged into.

    Attributes:
        log: Records of the ready and retry topics.
        replies: (site, result of an attempt or tick).
        acks: (source partition, offsets whose outcomes are durable).
        read: A batch of records -> (site, message).
        lane: Makes a lane.
        decisions: (site, decision): messages to send, and outcomes to write.
        settle: (source partition, settled offsets).
    """

    log: Source[Any]
    replies: Source[Any]
    acks: Source[Any]
    read: Callable[[list[Any]], list[tuple[str, Any]]]
    lane: Callable[[], Lane]
    decisions: Sink[Any]
    settle: Sink[Any]


def build(ports: Ports) -> Dataflow:
    """The dispatch graph over the given ports."""
    flow = Dataflow(NAME)
    records = op.input("log", flow, ports.log)
    replies = op.input("replies", flow, ports.replies)
    acks = op.input("acks", flow, ports.acks)
    queued = op.flat_map_batch("read", records, ports.read)
    facts = op.merge("facts", queued, replies)
    decided = op.stateful_batch("lane", facts, lambda _resume: ports.lane())
    op.output("decisions", decided, ports.decisions)
    op.output("settle", acks, ports.settle)
    return flow


def flow() -> Dataflow:
    """The flow as `python -m bytewax.run flows.dispatch` runs it."""
    settings = config.start(NAME)
    shaping = settings.shaping  # before anything is taken: a file of the operator may be wrong
    process = FlowProcess(NAME, settings.data_dir, settings.log, settings.session)
    settling = Settling(process.log, spec(), process.numbers, process.suspects, owner=process.owner)
    writer = OutcomeWriter(settling)
    leases = Leases(settling, writer, process.peers.holder, process.peers.holders)
    bridge = SmtpBridge(writer, settings.routes, leases)
    timers = Timers()
    shared = open_limits(settings.redis, lambda site, at_ms: timers.wake(at_ms, site))
    process.on_close(shared.close)
    resolver = Resolver(settings.smtp, random.Random())  # noqa: S311 - spreads load
    engine = SmtpEngine(
        settings.smtp,
        on_result=bridge.on_result,
        on_hanging=bridge.on_hanging,
        may_send=lambda: clock.since_boot() < process.valid_until(),
        resolver=resolver,
        on_free=bridge.on_free,
    )
    sites = Sites(settings.routes, resolver, bridge.arrive)
    lanes = LanePorts(
        shape=partial(sites.shape, shaping),
        domain_bounds=shaping.of_domain,
        forget=sites.forget,
        retry=settings.retry,
        clock=clock,
        clock_trusted=process.clock_trusted,
        waiting_ms=bridge.waiting_clock.now_ms,
        draw=random.SystemRandom().random,
        wake=timers.wake,
        stalled=bridge.stalled,
        shared=shared,
    )
    if settings.metrics is not None:
        figures = _figures(settling, lanes, bridge, leases)
        process.on_close(serve_metrics(figures, NAME, *settings.metrics))
    engine.start()
    process.on_drain(lambda: engine.drain(process.patience()))
    process.in_flight(lambda: bridge.busy)
    process.on_clock_back(bridge.let_go, lambda: bridge.busy, settling.settle_acknowledged)
    process.on_close(settling.close)
    process.let_go_of(KEPT, settings.disk_is_low, settling.commit_floors)
    process.on_close(resolver.close)
    process.on_close(engine.close)
    process.meet_peers()
    return build(
        Ports(
            log=LogSource(settling, process, one_outcome=True),
            replies=RepliesSource(bridge, timers, process),
            acks=AcksSource(settling, process),
            read=ReadDeliveries(sites.place, NOT_HELD, writer, leases),
            lane=lambda: Lane(lanes),
            decisions=DecisionsSink(bridge, engine, writer, process),
            settle=SettleSink(settling, process),
        )
    )


def _figures(
    settling: Settling, lanes: LanePorts, bridge: SmtpBridge, leases: Leases
) -> FlowMetrics:
    totals = {
        "sealwax_leases": lambda: leases.granted,
        "sealwax_in_doubt": lambda: bridge.in_doubt + leases.lost,
    }
    return FlowMetrics(settling, lambda: waiting_in(lanes.lanes), totals)
