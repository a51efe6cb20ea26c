"""The dispatch graph: over a real log, engine and server, and over hand-made facts."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from bytewax.testing import TestingSink, TestingSource, cluster_main
from typing_extensions import override

from connectors.log import LogSettings, open_log
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Log, Record, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink
from connectors.records import encode_deliveries, ready_place, row_of
from connectors.smtp.bridge import SmtpBridge, Timers
from connectors.smtp.io import DecisionsSink, RepliesSource
from connectors.smtp.items import Decision, Queued, Send, Tick
from connectors.smtp.leases import Leases
from connectors.smtp.sites import Sites
from flows import dispatch
from flows.operators.lane import Lane, LanePorts
from flows.operators.read import ReadDeliveries
from sealwax import clock
from sealwax.model import topics
from sealwax.model.delivery import Position
from sealwax.policy.retry import RetrySettings
from sealwax.policy.shaping.rule import Figure
from sealwax.policy.shaping.rule_file import rules_from
from sealwax.policy.shaping.rules import ShapingRules
from sealwax.policy.shaping.shape import Scope, Shape, What, site_shape
from sealwax.smtp.engine import SmtpEngine
from sealwax.smtp.resolver import Resolver
from sealwax.smtp.route import Routes
from sealwax.smtp.settings import SmtpSettings
from sealwax.store.limits import InProcessLimits, Limits, Permits
from tests.support.counted_sink import CountedSink, counted_sink
from tests.support.deliveries import delivery
from tests.support.lifecycle import UntilSettled
from tests.support.smtp_dns import dns_server
from tests.support.smtp_engine import MESSAGE, QUICK
from tests.support.smtp_server import Script, ScriptedServer, scripted

READY = topics.ready(topics.Stream.TRANSACTIONAL)
PARTITIONS = 2
COUNT = 200
STUFFED = MESSAGE.replace(b"\r\n.", b"\r\n..")


class NotedLimits(InProcessLimits):
    """Keeps the names of what it was asked for."""

    def __init__(self, timers: Timers) -> None:
        super().__init__(lambda site, at_ms: timers.wake(at_ms, site))
        self.names: set[str] = set()

    @override
    def permits(self, name: str, most: int) -> Permits:
        self.names.add(name)
        return super().permits(name, most)


def lane_ports(settings: Shape, timers: Timers) -> LanePorts:
    return LanePorts(
        shape=lambda _queued: settings,
        retry=RetrySettings(),
        clock=clock,
        clock_trusted=lambda: True,
        waiting_ms=lambda: clock.monotonic() * 1000,
        draw=lambda: 0.5,
        wake=timers.wake,
        stalled=lambda: False,
    )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = open_log(LogSettings(tmp_path / "log", PARTITIONS))
    opened.create_topics(topics.ALL)
    yield opened
    opened.close()


def fill(log: Log, count: int = COUNT) -> None:
    """Messages to ten domains, and one record that nobody can read."""
    now_ms = clock.now_ms()
    deliveries = [
        delivery(
            rcpt=f"user{n}@d{n % 10}.test",
            rcpt_domain=f"d{n % 10}.test",
            accepted_at_ms=now_ms,
            since_ms=now_ms,
            give_up_at_ms=now_ms + 3_600_000,
            message=MESSAGE,
        )
        for n in range(count)
    ]
    values = [*encode_deliveries([(one, b"") for one in deliveries]), b"no delivery"]
    log.append_wait(READY, [Entry(n % PARTITIONS, b"k", v) for n, v in enumerate(values)])


@contextmanager
def started(
    settling: Settling,
    routes: Routes,
    smtp: SmtpSettings,
    timers: Timers,
    limits: Limits,
    rules: ShapingRules,
) -> Iterator[dispatch.Ports]:
    """Ports over a real engine."""
    writer = OutcomeWriter(settling)
    leases = Leases(settling, writer, "holder")
    bridge = SmtpBridge(writer, routes, leases)
    process = UntilSettled(settling, READY, idle=lambda: not bridge.busy)
    resolver = Resolver(smtp, Random(1))
    sites = Sites(routes, resolver, bridge.arrive)
    engine = SmtpEngine(
        smtp,
        bridge.on_result,
        bridge.on_hanging,
        lambda: True,
        resolver=resolver,
        on_free=bridge.on_free,
    )
    lanes = replace(lane_ports(Shape(), timers), shared=limits, shape=partial(sites.shape, rules))
    engine.start()
    try:
        yield dispatch.Ports(
            log=LogSource(settling, process, one_outcome=True),
            replies=RepliesSource(bridge, timers, process),
            acks=AcksSource(settling, process),
            read=ReadDeliveries(sites.place, {}, writer, leases),
            lane=lambda: Lane(lanes),
            decisions=DecisionsSink(bridge, engine, writer, process),
            settle=SettleSink(settling, process),
        )
    finally:
        engine.close()
        resolver.close()


THREE = ShapingRules(
    [],
    [Figure(Scope.SITE, What.CONNECTIONS, per_ip=False, value=3, source="")],
)


def dispatched(
    log: Log,
    server: ScriptedServer | CountedSink,
    workers: int,
    nameserver_port: int | None = None,
    rules: ShapingRules = THREE,
) -> set[str]:
    """Runs the flow until everything in the ready topic is settled; the names of its limits.

    All mail goes to the server: by a route, or where there is a nameserver, as that says.
    """
    settling = Settling(log, dispatch.spec(), range(PARTITIONS))
    smtp, timers = replace(QUICK, open_sessions=10), Timers()
    limits = NotedLimits(timers)
    routes = Routes.parse(f"*=127.0.0.1:{server.port}")
    if nameserver_port is not None:
        routes = Routes()
        smtp = replace(
            smtp,
            port=server.port,
            nameservers=("127.0.0.1",),
            nameserver_port=nameserver_port,
            allow_private_mx=True,
        )
    with started(settling, routes, smtp, timers, limits, rules) as ports:
        cluster_main(dispatch.build(ports), [], 0, worker_count_per_proc=workers)
    settling.close()
    return limits.names


OF_A_PROVIDER = """
[default]
limits = [{ connections = 5 }, { messages_per_connection = 4 }]
[provider.p]
name = "P"
mx = ["p.test"]
limits = [{ at = "provider", connections = 3 }]
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_sites_of_a_provider_have_its_connections_together(log, workers):
    """Ten domains, each with a host of its own, and the mail of all gets through."""
    fill(log)
    zone = {(f"d{n}.test", "MX"): [f"1 mx{n}.p.test."] for n in range(10)}
    zone |= {(f"mx{n}.p.test", "A"): ["127.0.0.1"] for n in range(10)}
    rules = ShapingRules(rules_from(tomllib.loads(OF_A_PROVIDER), "test", sourced=False))
    with counted_sink(0.002) as sink, dns_server(zone) as names:
        limits = dispatched(log, sink, workers, names.port, rules)
        assert sink.taken == Counter(f"user{n}@d{n % 10}.test" for n in range(COUNT))
        assert sink.most_open <= 3
        assert sink.most_at_work == 3
    assert limits == {"provider:p", *(f"site:mx{n}.p.test" for n in range(10))}


def test_mail_of_a_large_domain_is_spread_and_dispatch_knows_only_the_domain(log):
    """Its lane and limit are one, whichever worker reads it; no name has the number of its key."""
    now_ms = clock.now_ms()
    made = [
        delivery(
            rcpt=f"user{n}@large.test",
            rcpt_domain="large.test",
            accepted_at_ms=now_ms,
            since_ms=now_ms,
            give_up_at_ms=now_ms + 3_600_000,
            message=MESSAGE,
        )
        for n in range(60)
    ]
    values = encode_deliveries([(one, b"") for one in made])
    entries = [
        Entry(*ready_place(one, {"large.test": 8}, PARTITIONS), value)
        for one, value in zip(made, values, strict=True)
    ]
    assert {entry.key for entry in entries} == {b"large.test#%d" % n for n in range(8)}
    assert {entry.partition for entry in entries} == set(range(PARTITIONS))
    log.append_wait(READY, entries)
    zone = {("large.test", "MX"): ["1 mx.test."], ("mx.test", "A"): ["127.0.0.1"]}
    with scripted(Script(pause_dot_s=0.01)) as server, dns_server(zone) as resolver:
        limits = dispatched(log, server, 2, resolver.port)
        assert len(server.messages) == 60
        assert len(server.connections) <= 3
    assert limits == {"site:mx.test"}
    assert {name for name, _ in resolver.asked} == {"large.test", "mx.test"}
    outcomes = records(log, topics.EVENTS)
    assert {orjson.loads(row_of(one))["rcpt_domain"] for one in outcomes} == {"large.test"}
    assert not any(b"large.test#" in (one.key or b"") + (one.value or b"") for one in outcomes)


def records(log: Log, topic: str) -> list[Record]:
    tps = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    return [record for tp in tps for record in log.scan(tp, 0, log.end_offset(tp))]


def rows(log: Log, topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(row_of(record)) for record in records(log, topic)]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_message_reaches_the_server_once_and_its_outcome_is_a_row(log, workers):
    fill(log)
    with scripted() as server:
        dispatched(log, server, workers)
        assert server.messages == [STUFFED] * COUNT
        delivered = Counter((row["kind"], row["rcpt"]) for row in rows(log, topics.EVENTS))
        expected = {("delivered", f"user{n}@d{n % 10}.test"): 1 for n in range(COUNT)}
        assert delivered == expected
        (dead,) = records(log, topics.DEAD)
        assert dead.value == b"no delivery"
        assert sum(log.lag("dispatch", TopicPartition(READY, n)) for n in range(PARTITIONS)) == 0
        dispatched(log, server, workers)
        assert len(server.messages) == COUNT


@pytest.mark.parametrize(
    ("answer", "topic", "kind"),
    [
        ("451 4.7.1 later", topics.retry(topics.Stream.TRANSACTIONAL, "1m"), "deferred"),
        ("550 5.1.1 no such user", topics.EVENTS, "bounced"),
    ],
)
def test_a_refusal_is_one_record_that_says_what_the_server_said(log, answer, topic, kind):
    fill(log, 20)
    with scripted(Script(rcpt=answer)) as server:
        dispatched(log, server, 2)
        assert not any(server.messages)
    found = rows(log, topic)
    assert {(r["kind"], f"{r['code']} {r['status']} {r['reply']}") for r in found} == {
        (kind, answer)
    }
    assert len({row["rcpt"] for row in found}) == len(found) == 20


@pytest.mark.parametrize("workers", [1, 2])
def test_facts_of_a_site_meet_in_one_lane_whichever_worker_reads_them(workers):
    timers = Timers()
    lanes = lane_ports(site_shape(connections=2), timers)
    sites = [f"site{n % 5}" for n in range(50)]
    queued = [Queued(s, delivery(), Position(READY, 0, n)) for n, s in enumerate(sites)]
    decided: list[tuple[str, Decision]] = []
    ports = dispatch.Ports(
        log=TestingSource(queued, batch_size=3),
        replies=TestingSource([(site, Tick(site)) for site in sites], batch_size=2),
        acks=TestingSource([]),
        read=lambda items: [(item.site, item) for item in items],
        lane=lambda: Lane(lanes),
        decisions=TestingSink(decided),
        settle=TestingSink([]),
    )
    cluster_main(dispatch.build(ports), [], 0, worker_count_per_proc=workers)
    sent = Counter(site for site, decision in decided if isinstance(decision, Send))
    assert sent == {f"site{n}": 2 for n in range(5)}
    assert all(
        decision.queued.site == site for site, decision in decided if isinstance(decision, Send)
    )
