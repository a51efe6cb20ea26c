"""The sink that lanes' decisions go to, and the source that their facts come from."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from typing_extensions import override

from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry
from connectors.log.source import Lifecycle
from connectors.smtp import outcomes
from connectors.smtp.bridge import SmtpBridge, Timers
from connectors.smtp.items import Decision, Fact, LetGo, Postpone, Send, Verdict
from sealwax import clock
from sealwax.model.delivery import Position
from sealwax.model.event import Kind
from sealwax.smtp.engine import SmtpEngine

_MOST_FACTS = 500
_IDLE_WAKE_MS = 10
_BUSY_WAKE_MS = 2
# Facts stop in a drain when nothing has been in flight this long; acknowledgements stop after them.
_QUIET_S = 0.3


class _RepliesPartition(StatelessSourcePartition[tuple[str, Fact]]):
    def __init__(self, bridge: SmtpBridge, timers: Timers, process: Lifecycle) -> None:
        self._bridge = bridge
        self._timers = timers
        self._process = process
        self._busy = False

    @override
    def next_batch(self) -> list[tuple[str, Fact]]:
        if self._process.quiet(_QUIET_S):
            raise StopIteration
        self._bridge.waiting_clock.now_ms()  # it has to be looked at often
        facts = self._bridge.take_facts(_MOST_FACTS)
        if not self._process.draining():
            facts += self._timers.take_due(clock.monotonic() * 1000)
        self._busy = bool(facts)
        return facts

    @override
    def next_awake(self) -> datetime:
        return clock.wake_in(_BUSY_WAKE_MS if self._busy or self._bridge.busy else _IDLE_WAKE_MS)


class RepliesSource(DynamicSource[tuple[str, Fact]]):
    """Emits (site, fact): results of attempts, and the ticks that lanes asked for.

    Guarantee: each fact once; what is lost in a crash belongs to records that are unsettled.
    """

    def __init__(self, bridge: SmtpBridge, timers: Timers, process: Lifecycle) -> None:
        self._bridge = bridge
        self._timers = timers
        self._process = process

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _RepliesPartition:
        return _RepliesPartition(self._bridge, self._timers, self._process)


class _DecisionsPartition(StatelessSinkPartition[tuple[str, Decision]]):
    def __init__(
        self, bridge: SmtpBridge, engine: SmtpEngine, writer: OutcomeWriter, process: Lifecycle
    ) -> None:
        self._bridge = bridge
        self._engine = engine
        self._writer = writer
        self._process = process

    @override
    def write_batch(self, items: list[tuple[str, Decision]]) -> None:
        sends = [decision for _, decision in items if isinstance(decision, Send)]
        if sends and not self._process.draining():
            self._engine.submit([self._bridge.job(send) for send in sends])
        for _, decision in items:
            if isinstance(decision, LetGo):
                self._engine.let_go(decision.site)
        verdicts = [one for _, one in items if isinstance(one, Verdict | Postpone)]
        if verdicts:
            self._settle(verdicts)

    def _settle(self, decisions: Sequence[Verdict | Postpone]) -> None:
        waiting = [d for d in decisions if isinstance(d, Postpone) or d.kind is Kind.DEFERRED]
        over = [d for d in decisions if isinstance(d, Verdict) and d.kind is not Kind.DEFERRED]
        records = zip(waiting, outcomes.waiting(waiting), strict=True)
        by_topic: defaultdict[str, list[tuple[Verdict | Postpone, Entry]]] = defaultdict(list)
        for decision, (topic, entry) in records:
            by_topic[topic].append((decision, entry))
        for decision in over:
            topic, entry = outcomes.ended(decision)
            by_topic[topic].append((decision, entry))
        for topic, pairs in by_topic.items():
            self._write(topic, pairs)

    def _write(self, topic: str, pairs: Sequence[tuple[Verdict | Postpone, Entry]]) -> None:
        def durable() -> None:
            for decision, _ in pairs:
                if isinstance(decision, Verdict):
                    self._bridge.release(decision.attempted.attempt_id)

        entries = [entry for _, entry in pairs]
        self._writer.write([(topic, entries)], [_source(d) for d, _ in pairs], durable)


def _source(decision: Verdict | Postpone) -> Position:
    queued = decision.queued if isinstance(decision, Postpone) else decision.attempted.send.queued
    return queued.source


class DecisionsSink(DynamicSink[tuple[str, Decision]]):
    """Hands messages to the engine, and appends the outcomes of those that were not delivered.

    Guarantee: at least once an attempt; the record of a message is settled only when its outcome
    is durable.
    """

    def __init__(
        self, bridge: SmtpBridge, engine: SmtpEngine, writer: OutcomeWriter, process: Lifecycle
    ) -> None:
        self._bridge = bridge
        self._engine = engine
        self._writer = writer
        self._process = process

    @override
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _DecisionsPartition:
        return _DecisionsPartition(self._bridge, self._engine, self._writer, self._process)
