"""Render: requests to one signed message per recipient, ready for dispatch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.claim_expiry import ClaimExpiry
from connectors.flow_process import FlowProcess
from connectors.log import specs
from connectors.log.append import AppendSink
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Log
from connectors.log.retention import Kept
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink
from flows.operators.intake import Intake
from flows.operators.once import OncePerRequest
from flows.operators.patience import Patient
from flows.operators.render import RenderPorts, RenderRequests
from sealwax import clock, config
from sealwax.config import Settings
from sealwax.mail.keyring import Keyring
from sealwax.mail.submission import SubmissionLimits
from sealwax.model import topics
from sealwax.store.relational import Store, open_store

NAME = "render"
spec = specs.render


@dataclass(frozen=True)
class Ports:
    """What the flow is plugged into.

    Attributes:
        log: Records of the requested topics.
        acks: (source partition, offsets whose outcomes are durable).
        render: A batch of records -> the outcome of each.
        outcomes: Outcomes to append.
        settle: (source partition, settled offsets).
    """

    log: Source[Any]
    acks: Source[Any]
    render: Callable[[list[Any]], list[Any]]
    outcomes: Sink[Any]
    settle: Sink[Any]


def build(ports: Ports) -> Dataflow:
    """The render graph over the given ports."""
    flow = Dataflow(NAME)
    records = op.input("log", flow, ports.log)
    acks = op.input("acks", flow, ports.acks)
    rendered = op.flat_map_batch("render", records, ports.render)
    op.output("outcomes", rendered, ports.outcomes)
    op.output("settle", acks, ports.settle)
    return flow


def render_ports(settings: Settings, store: Store, log: Log) -> RenderPorts:
    """What rendering looks up, from the stores of this installation."""
    return RenderPorts(
        intake=Intake(
            grant_key=store.master_key.derive("grant"),
            tenant_of_key=lambda key: getattr(store.tenant_of_key(key), "tenant_id", None),
            incarnation=log.incarnation,
            limits=SubmissionLimits(),
            trusted_tenant=store.has_tenant if settings.trust_tenant_header else None,
        ),
        once=OncePerRequest(store.claim_for_records, settings.idempotency_keys_kept_ms),
        keyring=Keyring(
            lambda tenant, domain: (
                store.signing_keys(tenant, domain) if store.usable_domain(tenant, domain) else ()
            ),
            clock.now_ms,
        ),
        template=store.template,
        give_up_after_ms=settings.give_up_after_ms,
        partitions=log.partitions,
        now_ms=clock.now_ms,
        large_domains=settings.large_domains,
    )


def kept(settings: Settings) -> dict[str, Kept]:
    """How long requests are kept, by topic: the API shows an email's text from them."""
    return dict.fromkeys(
        topics.REQUESTED, Kept((NAME,), least_ms=settings.bodies_kept_ms, gives_way=True)
    )


def flow() -> Dataflow:
    """The flow as `python -m bytewax.run flows.render` runs it."""
    settings = config.start(NAME)
    process = FlowProcess(NAME, settings.data_dir, settings.log, settings.session)
    store = open_store(settings.relational)
    rendering = Patient(
        RenderRequests(render_ports(settings, store, process.log)), process.stopped_within
    )
    settling = Settling(
        process.log, spec(process.log), process.numbers, process.suspects, owner=process.owner
    )
    writer = OutcomeWriter(settling)
    expiry = ClaimExpiry(process.log, NAME, topics.REQUESTED, store.delete_claims)
    # What was given up stays unsettled.
    process.in_flight(lambda: bool(writer.pending if rendering.gave_up else settling.unsettled))
    process.on_clock_back(lambda: None, lambda: bool(writer.pending), settling.settle_acknowledged)
    process.on_close(store.close)
    process.on_close(expiry.close)
    process.on_close(settling.close)
    process.let_go_of(kept(settings), settings.bodies_give_way, settling.commit_floors)
    process.meet_peers()
    return build(
        Ports(
            log=LogSource(settling, process, one_outcome=False),
            acks=AcksSource(settling, process),
            render=rendering,
            outcomes=AppendSink(writer),
            settle=SettleSink(settling, process),
        )
    )
