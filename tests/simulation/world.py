"""One simulated world: everything that happens in it follows from its seed."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from random import Random

from connectors.log.port import Entry, Record, TopicPartition
from flows import dispatch, render
from sealwax.model import topics
from sealwax.policy.shaping.shape import site_shape
from sealwax.policy.throttle import Rate
from tests.simulation.clock import START_MS, Agenda, VirtualClock
from tests.simulation.disk import Disk
from tests.simulation.ledger import Ledger
from tests.simulation.log import SimulatedLog
from tests.simulation.network import Network
from tests.simulation.process import DispatchProcess, Process, RenderProcess, Surroundings
from tests.simulation.requests import Requests, render_ports
from tests.simulation.steps import Step

_MOST_STEPS = 60_000
# A step that is ready is not kept waiting for longer than this by the scheduler.
_NEAR_MS = 50.0
_MOST_CRASHES = 10
_LAST_COMMITS_MS = 10_000.0
_RATES = (None, None, Rate(period_ms=200.0), Rate(period_ms=15_000.0))
_FLOWS = (render.NAME, dispatch.NAME)


class PromiseBrokenError(AssertionError):
    """A promise of the ledger did not hold; its text says with which seed."""


class World:
    """Requests, the two flows, a disk and a network that make trouble, and a scheduler.

    Attributes:
        steps: How many steps were run.
        crashes: How many processes died.
        trace: What happened, one line each, if that was asked for.
    """

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.steps = 0
        self.crashes = 0
        self.trace: list[str] | None = [] if traced else None
        self._seed = seed
        self._random = random = Random(seed)
        self._clock = VirtualClock()
        agenda, disk = Agenda(self._clock), Disk(self._clock, random.randint(1, 2))
        disk.create(topics.ALL)
        network = Network(random)
        self._api = SimulatedLog(disk, agenda.after, random)
        specs = (render.spec(self._api), dispatch.spec())
        ledger = Ledger(disk, network, specs)
        self._around = Surroundings(agenda, disk, network, ledger, random)
        self._ledger = ledger
        self._agenda = agenda
        self._lane = site_shape(connections=random.randint(1, 3), rate=random.choice(_RATES))
        self._places = random.randint(1, 5)
        self._window = random.choice((12, 100, 50_000))
        self._allowed: Counter[str] = Counter()
        self._processes: dict[str, Process] = {}
        self._trouble = self._plan_trouble()
        self._calm = False

    def run(self) -> None:
        """Lives until all that was accepted has ended and is settled.

        Raises:
            PromiseBrokenError: A promise did not hold, or something raised.
        """
        with self._clock.installed():
            try:
                self._live()
            except PromiseBrokenError:
                raise
            except Exception as error:
                self._ledger.broken.append(f"{type(error).__name__}: {error}")
                raise PromiseBrokenError(self._report()) from error

    def _live(self) -> None:
        self._around.disk.watchers.append(self._on_records)
        for flow in _FLOWS:
            self._start(flow)
        requested_ms = self._plan_requests()
        while self._clock.at_ms < requested_ms or not self._ledger.over:
            self._step()
        # All outcomes are durable: acknowledgements and commits follow.
        self._trouble.clear()
        self._calm = True
        while not all(flow in self._processes for flow in _FLOWS) or self._draining:
            self._step()
        last_ms = self._agenda.after(_LAST_COMMITS_MS, lambda: None)
        while self._clock.at_ms < last_ms:
            self._step()
        self._ledger.check_end(self._allowed + self._around.network.in_doubt)
        self._check()

    @property
    def _draining(self) -> bool:
        return any(process.draining() for process in self._processes.values())

    def _step(self) -> None:
        self.steps += 1
        self._ledger.expect(self.steps < _MOST_STEPS, "no rest: something is lost or goes round")
        trouble = self._trouble.pop(self.steps, None)
        if trouble is not None:
            trouble()
        now_ms = self._clock.at_ms
        ready = [
            (process, step)
            for process in self._processes.values()
            for step in process.ready_steps(now_ms)
        ]
        planned_ms = self._agenda.next_ms
        waiting = planned_ms - now_ms > _NEAR_MS or self._random.random() < 0.8
        if ready and waiting:
            self._run(*self._random.choice(ready))
        else:
            source_ms = min((p.next_ms(now_ms) for p in self._processes.values()), default=inf)
            if source_ms < planned_ms:
                self._clock.at_ms = source_ms
            elif planned_ms < inf:
                self._agenda.advance()
            else:
                self._ledger.broken.append("all stands still, and something is still queued")
        self._check()

    def _run(self, process: Process, step: Step) -> None:
        # Mostly quick; now and then a large batch, or a machine that has other things to do.
        slow = self._random.random() < 0.03
        self._clock.at_ms += self._random.random() * (2_000 if slow else 0.5)
        if step.run(self._clock.at_ms):
            process.moved()
        if process.draining():
            doubtful = process.end_if_drained()
            if doubtful is not None:
                self._bury(process, doubtful, "drained")

    def _check(self) -> None:
        if self._ledger.broken:
            raise PromiseBrokenError(self._report())

    def _report(self) -> str:
        return (
            f"seed {self._seed}, step {self.steps}: {'; '.join(self._ledger.broken[:3])}\n"
            f"alone, with what happened: pytest tests/simulation --seed {self._seed}"
        )

    def _note(self, what: Callable[[], str]) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.steps:5} {self._clock.at_ms - START_MS:9.1f} ms {what()}")

    def _on_records(self, records: Sequence[Record]) -> None:
        for record in records:
            self._note(lambda r=record: f"durable {r.topic}/{r.partition}/{r.offset} {r.headers}")  # type: ignore[misc]  # a default argument binds it
            for process in self._processes.values():
                process.arrived(TopicPartition(record.topic, record.partition))

    # ---- what is asked for

    def _plan_requests(self) -> float:
        """Plans what the API appends; the moment after which nothing more comes."""
        random, requests = self._random, Requests(self._random)
        span_ms = random.choice((0.0, 300.0, 5_000.0))
        for _ in range(random.randint(1, 6)):
            self._agenda.after(random.random() * span_ms, lambda: self._request(requests))
        if random.random() < 0.2:
            self._agenda.after(random.random() * span_ms, self._append_rubbish)
        return self._agenda.after(span_ms + 5_000, lambda: None)

    def _request(self, requests: Requests) -> None:
        ident, rcpts, entry = requests.new(self._around.disk.partitions)
        self._ledger.recipients[ident] = rcpts
        # Where the disk is full the API refuses, and nothing was accepted.
        self._api.append(self._random.choice(topics.REQUESTED), [entry], lambda _result: None)

    def _append_rubbish(self) -> None:
        topic = self._random.choice((*topics.REQUESTED, *topics.READY))
        number = self._random.randrange(self._around.disk.partitions)
        self._api.append(topic, [Entry(number, b"k", b"neither")], lambda _result: None)

    # ---- what goes wrong

    def _plan_trouble(self) -> dict[int, Callable[[], None]]:
        """Step -> what happens before it."""
        random = self._random
        span = random.choice((60, 200, 600))
        kinds: tuple[Callable[[], None], ...] = (
            lambda: self._kill(dispatch.NAME),
            lambda: self._kill(dispatch.NAME),
            lambda: self._kill(render.NAME),
            lambda: self._drain(dispatch.NAME),
            lambda: self._drain(render.NAME),
            self._lose_power,
            self._fill_disk,
        )
        return {
            random.randrange(1, span): random.choice(kinds)
            for _ in range(random.choice((0, 1, 2, 3, 5)))
        }

    def _start(self, flow: str) -> None:
        if flow in self._processes:
            return
        self._note(lambda: f"{flow} starts")
        window = self._window
        if flow == render.NAME:
            self._processes[flow] = RenderProcess(self._around, window, render_ports)
        else:
            self._processes[flow] = DispatchProcess(self._around, window, self._lane, self._places)
        again = 0 < self.crashes < _MOST_CRASHES and self._random.random() < 0.3
        if again and not self._calm:
            # What a start gets wrong shows when the process dies again before it has caught up.
            soon = self.steps + self._random.randint(1, 60)
            self._trouble.setdefault(soon, lambda: self._kill(flow))

    def _kill(self, flow: str) -> None:
        process = self._processes.get(flow)
        if process is not None:
            self._bury(process, process.kill(), "killed")

    def _drain(self, flow: str) -> None:
        process = self._processes.get(flow)
        if process is not None and not process.draining():
            self._note(lambda: f"{flow} drains")
            process.drain()

    def _bury(self, process: Process, doubtful: Sequence[str], how: str) -> None:
        """Takes note of a process that ended; the supervisor starts the next one."""
        flow = process.name
        self._note(lambda: f"{flow} {how}, in doubt: {doubtful}")
        self.crashes += 1
        self._allowed.update(doubtful)
        del self._processes[flow]
        self._ledger.check_sums()
        self._agenda.after(self._random.random() * 3_000, lambda: self._start(flow))

    def _lose_power(self) -> None:
        for flow in _FLOWS:
            self._kill(flow)
        self._api.kill()
        self._api = SimulatedLog(self._around.disk, self._agenda.after, self._random)
        lost = self._around.disk.lose_power(self._random)
        self._note(lambda: f"power lost, {lost} commits undone")

    def _fill_disk(self) -> None:
        disk = self._around.disk
        disk.full = True
        self._note(lambda: "disk full")

        def empty() -> None:
            disk.full = False
            self._note(lambda: "disk has room")

        self._agenda.after(self._random.random() * 4_000, empty)
