"""Between dataflow and engine: sessions wait for durable outcomes, facts come once."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from connectors.log import LogSettings, open_log
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Log, OnDurable, TopicPartition
from connectors.log.settling import Settling
from connectors.smtp.bridge import SmtpBridge, Timers
from connectors.smtp.io import DecisionsSink
from connectors.smtp.items import Attempted, Postpone, Tick, Verdict
from connectors.smtp.leases import Leases
from flows import dispatch
from sealwax import clock
from sealwax.errors import StorageFullError
from sealwax.model import topics
from sealwax.model.event import Kind
from sealwax.model.reply import Command, Reply
from sealwax.smtp.engine import SmtpEngine
from sealwax.smtp.route import Route, Routes
from tests.support.deliveries import LATER, OK, REFUSED, START_MS, meaning, queued, result, send
from tests.support.lifecycle import Running
from tests.support.smtp_engine import QUICK
from tests.support.waiting import wait_until

LOST = Reply(Command.DOT, 0, "", "connection lost")


class FullAtFirst:
    """The log, but its disk is full for the first appends."""

    def __init__(self, log: Log, refusals: int) -> None:
        self._log = log
        self._refusals = refusals

    def append(self, topic: str, entries: list[Entry], on_durable: OnDurable) -> None:
        self._refusals -= 1
        if self._refusals >= 0:
            on_durable(StorageFullError("the disk is full"))
        else:
            self._log.append(topic, entries, on_durable)


@dataclass
class Bench:
    log: Log
    settling: Settling
    writer: OutcomeWriter
    bridge: SmtpBridge
    process: Running

    def sink(self, engine: SmtpEngine | None = None):
        # Without an engine for decisions that send nothing.
        sink = DecisionsSink(self.bridge, engine, self.writer, self.process)  # type: ignore[arg-type]
        return sink.build("decisions", 0, 1)

    def another_bridge(self, writer: OutcomeWriter) -> SmtpBridge:
        return SmtpBridge(writer, Routes(), Leases(self.settling, writer, "holder"))

    def end(self, topic: str) -> int:
        return self.log.end_offset(TopicPartition(topic, 0))

    def rows(self, topic: str = topics.EVENTS) -> list[dict[str, object]]:
        records = self.log.scan(TopicPartition(topic, 0), 0, self.end(topic))
        return [orjson.loads(record.value or b"") for record in records]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    log = open_log(LogSettings(tmp_path / "log", 1))
    log.create_topics(topics.ALL)
    settling = Settling(log, dispatch.spec(), [0])
    writer = OutcomeWriter(settling)
    routes = Routes.parse("*=127.0.0.1:2525")
    bridge = SmtpBridge(writer, routes, Leases(settling, writer, "holder"))
    yield Bench(log, settling, writer, bridge, Running())
    settling.close()
    log.close()


def test_a_job_says_where_to_and_what(bench):
    sent = send(queued())
    job = bench.bridge.job(sent)
    delivery = sent.queued.delivery
    assert job.handle is sent
    assert job.route == Route("127.0.0.1", 2525)
    assert (job.reverse_path, job.rcpt) == (delivery.reverse_path, delivery.rcpt)
    assert (job.domain, job.message) == (delivery.rcpt_domain, delivery.message)


def test_a_session_that_delivered_goes_on_when_the_outcome_is_durable(bench):
    sent = send(queued(9))
    held = bench.bridge.on_result(bench.bridge.job(sent), result(OK, START_MS + 20))
    assert held.result(timeout=10) is None
    assert [row["kind"] for row in bench.rows()] == ["delivered"]
    wait_until(lambda: not bench.writer.pending, 5, "the append")
    ((site, fact),) = wait_until(lambda: bench.bridge.take_facts(10), 5, "the fact")
    assert site == "site"
    assert isinstance(fact, Attempted)
    assert fact.result.accepted
    assert bench.bridge.take_facts(10) == []
    assert list(bench.settling.acks) == [sent.queued.source]
    assert not bench.bridge.busy


@pytest.mark.parametrize(
    ("kind", "reply", "topic"),
    [
        (Kind.BOUNCED, REFUSED, topics.EVENTS),
        (Kind.EXPIRED, LATER, topics.EVENTS),
        (Kind.DEFERRED, LOST, "email.retry.transactional.1m"),
    ],
)
def test_a_session_that_did_not_deliver_waits_for_the_verdict_to_be_durable(
    bench, kind, reply, topic
):
    sent = send(queued(9))
    held = bench.bridge.on_result(bench.bridge.job(sent), result(reply, START_MS + 20))
    ((_, fact),) = bench.bridge.take_facts(10)
    assert isinstance(fact, Attempted)
    assert bench.bridge.busy
    assert not held.done()
    assert bench.end(topic) == 0
    bench.sink().write_batch([("site", Verdict(kind, fact, meaning(fact), START_MS + 65_000))])
    assert held.result(timeout=10) is None
    assert bench.end(topic) == 1
    wait_until(lambda: bench.settling.acks, 5, "the acknowledgement")
    assert list(bench.settling.acks) == [sent.queued.source]
    assert not bench.bridge.busy


def test_what_is_postponed_is_settled_and_holds_no_session(bench):
    item = queued(4)
    decision = Postpone(item, (), START_MS, START_MS + 70_000)
    bench.sink().write_batch([("site", decision)])
    wait_until(lambda: bench.settling.acks, 5, "the acknowledgement")
    assert list(bench.settling.acks) == [item.source]
    assert bench.end("email.retry.transactional.1m") == 1


def test_outcomes_of_several_topics_are_one_append_each(bench):
    attempts = []
    for offset in range(6):
        sent = send(queued(offset))
        bench.bridge.on_result(bench.bridge.job(sent), result(LATER, START_MS + 20))
        ((_, fact),) = bench.bridge.take_facts(1)
        assert isinstance(fact, Attempted)
        kind = Kind.DEFERRED if offset % 2 else Kind.BOUNCED
        attempts.append(("site", Verdict(kind, fact, meaning(fact), START_MS + 65_000)))
    bench.sink().write_batch(attempts)
    wait_until(lambda: len(bench.settling.acks) == 6, 5, "acknowledgements")
    assert (bench.end(topics.EVENTS), bench.end("email.retry.transactional.1m")) == (3, 3)
    assert not bench.bridge.busy


def test_a_process_that_drains_hands_no_message_to_a_session(bench):
    engine = SmtpEngine(
        QUICK, bench.bridge.on_result, bench.bridge.on_hanging, lambda: True
    )  # not started
    bench.process.stop()
    bench.sink(engine).write_batch([("site", send(queued()))])
    assert engine.busy() == 0
    assert not bench.settling.acks, "the message stays unsettled and is read again"


def test_an_outcome_that_the_log_refuses_is_written_again_until_it_is_durable(bench):
    bench.settling.log = FullAtFirst(bench.log, 2)
    bridge = bench.another_bridge(OutcomeWriter(bench.settling))
    sent = send(queued(9))
    held = bridge.on_result(bridge.job(sent), result(OK, START_MS + 20))
    assert not held.done()
    assert bridge.busy
    assert not bench.settling.acks
    held.result(timeout=10)
    assert len(bench.rows()) == 1
    assert list(bench.settling.acks) == [sent.queued.source]
    bench.settling.log = bench.log


def test_without_a_dataflow_no_session_waits_for_a_lane_and_deliveries_are_stored_all_the_same(
    bench,
):
    def attempted(offset: int, reply: Reply) -> Future[None]:
        sent = send(queued(offset))
        return bench.bridge.on_result(bench.bridge.job(sent), result(reply, START_MS + 20))

    before = attempted(1, LATER)
    assert not before.done()
    bench.bridge.let_go()
    after, delivered = attempted(2, LATER), attempted(3, OK)
    assert [held.result(timeout=10) for held in (before, after, delivered)] == [None] * 3
    wait_until(lambda: not bench.bridge.busy, 5, "the append")
    ((_, fact),) = bench.bridge.take_facts(1)
    assert isinstance(fact, Attempted)
    bench.sink().write_batch(
        [("site", Verdict(Kind.BOUNCED, fact, meaning(fact)))]
    )  # a lane that comes late
    wait_until(lambda: not bench.bridge.busy, 5, "the append")
    bench.settling.settle_acknowledged()
    assert [row["kind"] for row in bench.rows()] == ["delivered", "bounced"]
    assert not bench.settling.acks


def test_a_process_is_stalled_only_while_sessions_work_and_none_ends(bench, monkeypatch):
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    bridge = bench.another_bridge(bench.writer)
    now += 60
    assert not bridge.stalled()
    jobs = [bridge.job(send(queued()._replace(site=f"site{n}"))) for n in range(8)]
    assert not bridge.stalled()
    now += 6
    assert bridge.stalled()
    bridge.on_result(jobs[0], result(OK, START_MS))
    assert not bridge.stalled()


def test_hosts_of_few_sites_that_hang_are_no_stall_but_a_smart_host_is(bench, monkeypatch):
    """Mail of others may stand in the log behind what waits for them."""
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    few, smart = (bench.another_bridge(bench.writer) for _ in range(2))
    for n in range(70):
        few.job(send(queued()._replace(site=f"site{n % 7}")))
    job = smart.job(send(queued()._replace(site=Routes.parse("*=relay.test:25").site("a.test"))))
    now += 6
    assert not few.stalled()
    assert smart.stalled()
    smart.on_result(job, result(OK, START_MS))
    now += 6
    assert not smart.stalled()


def test_timers_give_each_tick_once_and_when_it_is_due():
    timers = Timers()
    for at_ms, site in ((30, "c"), (10, "a"), (20, "b")):
        timers.wake(at_ms, site)
    assert timers.take_due(9) == []
    assert timers.take_due(20) == [("a", Tick("a")), ("b", Tick("b"))]
    assert timers.take_due(20) == []
    assert timers.take_due(31) == [("c", Tick("c"))]


def test_attempts_in_doubt_are_counted(bench):
    for doubt in (False, True, True):
        bench.bridge.on_result(
            bench.bridge.job(send(queued())), result(LOST, START_MS, in_doubt=doubt)
        )
    assert bench.bridge.in_doubt == 2
