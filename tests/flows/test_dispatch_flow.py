"""The dispatch graph: over a real log, engine and server, and over hand-made facts."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from bytewax.testing import TestingSink, TestingSource, cluster_main

from connectors.log import LogSettings, open_log
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Log, Record, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink
from connectors.records import encode_deliveries, partition_of, ready_key, row_of
from connectors.smtp.bridge import SmtpBridge, Timers
from connectors.smtp.io import DecisionsSink, RepliesSource
from connectors.smtp.items import Decision, Queued, Send, Tick
from connectors.smtp.leases import Leases
from flows import dispatch
from flows.operators.lane import Lane, LanePorts
from flows.operators.read import ReadDeliveries
from sealwax import clock
from sealwax.model import topics
from sealwax.model.delivery import Position
from sealwax.policy.lane import LaneSettings
from sealwax.policy.retry import RetrySettings
from sealwax.smtp.engine import SmtpEngine
from sealwax.smtp.route import Routes
from tests.support.deliveries import delivery
from tests.support.lifecycle import UntilSettled
from tests.support.smtp_engine import MESSAGE, QUICK
from tests.support.smtp_server import Script, ScriptedServer, scripted

READY = topics.ready(topics.Stream.TRANSACTIONAL)
PARTITIONS = 2
COUNT = 200
STUFFED = MESSAGE.replace(b"\r\n.", b"\r\n..")


def lane_ports(settings: LaneSettings, timers: Timers) -> LanePorts:
    return LanePorts(
        limits=lambda _site: settings,
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
def started(server: ScriptedServer, settling: Settling) -> Iterator[tuple[Any, UntilSettled]]:
    """Ports over a real engine that sends everything to the server."""
    writer = OutcomeWriter(settling)
    routes = Routes.parse(f"*=127.0.0.1:{server.port}")
    leases = Leases(settling, writer, "holder")
    bridge = SmtpBridge(writer, routes, leases)
    process = UntilSettled(settling, READY, idle=lambda: not bridge.busy)
    engine = SmtpEngine(
        replace(QUICK, open_sessions=10), bridge.on_result, bridge.on_hanging, lambda: True
    )
    timers = Timers()
    lanes = lane_ports(LaneSettings(connections=3), timers)
    engine.start()
    try:
        yield (
            dispatch.Ports(
                log=LogSource(settling, process, one_outcome=True),
                replies=RepliesSource(bridge, timers, process),
                acks=AcksSource(settling, process),
                read=ReadDeliveries(lambda domain: domain, {}, writer, leases),
                lane=lambda: Lane(lanes),
                decisions=DecisionsSink(bridge, engine, writer, process),
                settle=SettleSink(settling, process),
            ),
            process,
        )
    finally:
        engine.close()


def dispatched(log: Log, server: ScriptedServer, workers: int) -> None:
    """Runs the flow until everything in the ready topic is settled."""
    settling = Settling(log, dispatch.spec(), range(PARTITIONS))
    with started(server, settling) as (ports, _):
        cluster_main(dispatch.build(ports), [], 0, worker_count_per_proc=workers)
    settling.close()


def test_mail_of_one_domain_in_several_partitions_keeps_to_one_limit(log):
    """As its keys `domain#k` spread it; its lane is one, whichever worker reads it."""
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
    keys = [ready_key(one, {"large.test": 8}) for one in made]
    entries = [
        Entry(partition_of(key, PARTITIONS), key, value)
        for key, value in zip(keys, encode_deliveries([(one, b"") for one in made]), strict=True)
    ]
    assert {entry.partition for entry in entries} == set(range(PARTITIONS))
    log.append_wait(READY, entries)
    with scripted(Script(pause_dot_s=0.01)) as server:
        dispatched(log, server, 2)
        assert len(server.messages) == 60
        assert len(server.connections) <= 3
    assert {row["rcpt_domain"] for row in rows(log, topics.EVENTS)} == {"large.test"}


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
    lanes = lane_ports(LaneSettings(connections=2), timers)
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
