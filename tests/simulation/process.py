"""A simulated process of a flow: the real parts, wired as its graph says, in steps."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, NamedTuple

from typing_extensions import override

from connectors.log.append import AppendSink
from connectors.log.flow_spec import FlowSpec
from connectors.log.outcomes import OutcomeWriter
from connectors.log.peers import Peers, Settled
from connectors.log.port import Log, TopicPartition
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink, partition_name
from connectors.quiet import Quiet
from connectors.smtp.bridge import SmtpBridge, Timers
from connectors.smtp.io import DecisionsSink, RepliesSource
from connectors.smtp.leases import Leases
from flows import dispatch, render
from flows.operators.lane import Lane, LanePorts
from flows.operators.read import ReadDeliveries
from flows.operators.render import RenderPorts, RenderRequests
from sealwax import clock
from sealwax.policy.retry import RetrySettings
from sealwax.policy.shaping.shape import Shape
from sealwax.smtp.route import Routes
from tests.simulation.clock import Agenda
from tests.simulation.disk import Disk
from tests.simulation.ledger import Ledger
from tests.simulation.log import SimulatedLog
from tests.simulation.network import Network, SimulatedEngine
from tests.simulation.steps import Lanes, QueueStep, SourceStep, Step

_DRAIN_MS = 60_000.0
_IDLE_WAKE_MS = 10.0
_NEVER = float("inf")


class Surroundings(NamedTuple):
    """What every process of a world meets."""

    agenda: Agenda
    disk: Disk
    network: Network
    ledger: Ledger
    random: Random


class Process(ABC):
    """A flow's process, and the lifecycle that its sources see.

    Its volatile state dies with it: nothing that it planned happens once `alive` is false.
    """

    def __init__(self, around: Surroundings, log: SimulatedLog, spec: FlowSpec) -> None:
        self.name = spec.name
        self.around = around
        self.alive = True
        self.log = log
        self.settling = Settling(self.log, spec, range(around.disk.partitions), timer=False)
        self.writer = OutcomeWriter(
            self.settling, later=lambda seconds, function: self.after(seconds * 1000, function)
        )
        self._spec = spec
        self.peers = Peers()
        self._asked = False
        self._quiet = Quiet(lambda: not self._asked or self.in_flight(), clock.monotonic)
        self._moved = True
        self._logs: dict[TopicPartition, SourceStep] = {}
        self._polled: list[SourceStep] = []
        self._sources: list[SourceStep] = []
        self._steps: list[Step] = []
        self._checked = {tp: self.settling.settler(tp).watermark for tp in self.settling.sources}
        self._plan_commit()

    def after(self, ms: float, function: Callable[[], object]) -> None:
        """Plans a call in this process."""

        def call() -> None:
            if self.alive:
                function()
                self.moved()

        self.around.agenda.after(ms, call)

    def moved(self) -> None:
        """Something happened in this process: its sources may have something to say."""
        for source in self._polled:
            source.touch()
        self._moved = True
        if not self._timed:
            self._plan_commit()

    def arrived(self, tp: TopicPartition) -> None:
        """A record became durable in a partition."""
        if tp in self._logs:
            self._logs[tp].touch()
            self._watch(tp)

    def ready_steps(self, now_ms: float) -> list[Step]:
        """The steps that have work."""
        return [step for step in self._steps if step.ready(now_ms)]

    def next_ms(self, now_ms: float) -> float:
        """When a source that has nothing now may have something though nothing happens."""
        return min(source.wake_ms(now_ms) for source in self._sources)

    def kill(self) -> list[str]:
        """The process dies; the addresses whose mail may be sent once more."""
        self.alive = False
        self.log.kill()
        return []

    def drain(self) -> None:
        """SIGTERM."""
        self._asked = True
        for tp in self._logs:
            self._watch(tp)
        for source in self._sources:
            source.poll()

    def end_if_drained(self) -> list[str] | None:
        """Ends the process once its dataflow is over; as `kill`, or None while it goes on."""
        if not all(source.ended for source in self._sources) or self.ready_steps(_NEVER):
            return None
        self.settling.close()
        self.log.close()
        self.alive = False
        for tp in self.settling.sources:
            self.around.ledger.check_drained(self.settling.settler(tp))
        return []

    # What connectors.flow_process.FlowProcess is to sources.

    def running(self) -> None:  # noqa: B027 - part of the lifecycle, for every flow
        """Nothing waits for it here."""

    def draining(self) -> bool:
        return self._asked

    def quiet(self, seconds: float) -> bool:
        return self._quiet.lasts(seconds)

    @abstractmethod
    def in_flight(self) -> bool:
        """Whether there is work that must end before the dataflow does."""

    def _wire(self, one_outcome: bool, records: "deque[Any]", *others: Step) -> None:
        """Makes the steps that every flow has: its log's partitions, and settling."""
        source = LogSource(self.settling, self, one_outcome=one_outcome)
        by_name = {partition_name(tp): tp for tp in self.settling.sources}
        random, now_ms = self.around.random, self.around.agenda.clock.at_ms
        # The timer may be quicker than the dataflow, which reads nothing for a while.
        reads_ms = now_ms + random.random() * 2_000 if random.random() < 0.3 else 0.0
        for name in source.list_parts():
            part = source.build_part("log", name, None)
            tp = by_name[name]
            self._logs[tp] = SourceStep(part, records, partial(self._next_read_ms, tp))
            self._logs[tp].sleep_until(reads_ms)
        sink = SettleSink(self.settling, self)
        settling = sink.build_part("settle", sink.list_parts()[0], None)

        def settle(acks: list[tuple[str, Settled]]) -> None:
            for _, settled in acks:
                settling.write_batch([settled])
                self._check_watermark(settled.tp)

        settles = QueueStep(self.around.random, settle)
        acks = SourceStep(AcksSource(self.settling, self).build("acks", 0, 1), settles.queue)
        self._polled.append(acks)
        self._sources = list(self._polled)
        self._steps = [*self._sources, *others, settles]
        for tp in self._logs:
            if self.around.disk.records[tp]:
                self._watch(tp)

    def _watch(self, tp: TopicPartition) -> None:
        """Runs the step of a partition from now on; those that stay empty cost no time."""
        step = self._logs[tp]
        if step not in self._sources:
            self._sources.append(step)
            self._steps.append(step)

    def _check_watermark(self, tp: TopicPartition) -> None:
        watermark = self.settling.settler(tp).watermark
        self.around.ledger.check_settled(tp, self._checked[tp], watermark)
        self._checked[tp] = watermark
        self._logs[tp].touch()

    def _next_read_ms(self, tp: TopicPartition, now_ms: float) -> float:
        """When a partition that gave nothing is asked again; never where an event must come first.

        It may have passed records whose outcomes are durable, or hold the head of a delay topic.
        """
        self.moved()
        records, settler = self.around.disk.records[tp], self.settling.settler(tp)
        window, _ = self.settling.window(tp.topic)
        if settler.position >= len(records) or settler.unsettled >= window:
            return _NEVER
        released_ms = records[settler.position].stamp_ms + self._spec.hold_ms.get(tp.topic, 0)
        return max(released_ms, now_ms + _IDLE_WAKE_MS)

    def _plan_commit(self) -> None:
        """The timer. It rests while nothing happens, when a round would find nothing to do."""
        random = self.around.random

        def round_() -> None:
            if self.alive:
                full = self.around.disk.full
                again, self._moved, self._timed = self._moved or full, full, False
                self.settling.commit_round()
                if again:
                    self._plan_commit()

        self._timed = True
        self.around.agenda.after(200 + random.random() * 600, round_)


class RenderProcess(Process):
    """flows/render.py."""

    def __init__(
        self, around: Surroundings, window: int, ports: Callable[[Log], RenderPorts]
    ) -> None:
        log = SimulatedLog(around.disk, self.after, around.random)
        super().__init__(around, log, replace(render.spec(log), window_records=window))
        sink = AppendSink(self.writer).build("outcomes", 0, 1)
        outcomes = QueueStep(around.random, sink.write_batch)
        rendering = RenderRequests(ports(self.log))
        rendered = QueueStep(around.random, lambda items: outcomes.queue.extend(rendering(items)))
        self._wire(False, rendered.queue, rendered, outcomes)

    @override
    def in_flight(self) -> bool:
        return bool(self.settling.unsettled)


class DispatchProcess(Process):
    """flows/dispatch.py."""

    def __init__(self, around: Surroundings, window: int, lane: Shape, places: int) -> None:
        log = SimulatedLog(around.disk, self.after, around.random)
        super().__init__(around, log, replace(dispatch.spec(), window_records=window))
        random = around.random
        routes = Routes()
        leases = Leases(self.settling, self.writer, str(random.random()))
        self._bridge = SmtpBridge(self.writer, routes, leases)
        self._engine = SimulatedEngine(around.network, self.after, self._bridge, places)
        self._given_up = False
        timers = Timers()
        ports = LanePorts(
            shape=lambda _queued: lane,
            retry=RetrySettings(),
            clock=clock,
            clock_trusted=lambda: True,
            waiting_ms=self._bridge.waiting_clock.now_ms,
            draw=random.random,
            wake=lambda at_ms, site: self._wake(timers, at_ms, site),
            stalled=self._bridge.stalled,
        )
        sink = DecisionsSink(self._bridge, self._engine, self.writer, self).build("out", 0, 1)  # type: ignore[arg-type]  # stands for the real engine
        decisions = QueueStep(random, sink.write_batch)
        facts = QueueStep(random, Lanes(lambda: Lane(ports), decisions.queue))
        reading = ReadDeliveries(
            lambda queued: queued._replace(site=routes.site(queued.delivery.rcpt_domain)),
            dispatch.NOT_HELD,
            self.writer,
            leases,
        )
        read = QueueStep(random, lambda items: facts.queue.extend(reading(items)))
        replies = RepliesSource(self._bridge, timers, self).build("replies", 0, 1)
        self._polled.append(SourceStep(replies, facts.queue))
        self._wire(True, read.queue, read, facts, decisions)

    @override
    def kill(self) -> list[str]:
        super().kill()
        return self._engine.kill(self.around.random)

    @override
    def drain(self) -> None:
        super().drain()
        self._engine.abandon()
        self.after(_DRAIN_MS, self._give_up)

    @override
    def end_if_drained(self) -> list[str] | None:
        if super().end_if_drained() is None:
            return None
        doubtful = self._engine.kill(self.around.random)
        # Only what hangs after the final dot for longer than a drain waits.
        self.around.ledger.expect(self._given_up or not doubtful, f"a drain doubles {doubtful}")
        return doubtful

    @override
    def in_flight(self) -> bool:
        return self._bridge.busy or bool(self._asked and self._engine.busy() and not self._given_up)

    def _give_up(self) -> None:
        self._given_up = True
        self._engine.report()

    def _wake(self, timers: Timers, at_ms: float, site: str) -> None:
        timers.wake(at_ms, site)
        # Half a millisecond later: the heap's times come from seconds, and so does its clock.
        self.after(at_ms - self.around.agenda.clock.at_ms + 0.5, lambda: None)
