"""What R16 promises, over every order of progress, deaths, kills and stops."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from sealwax.model.delivery import Position
from sealwax.policy.poison import (
    DEATHS_TO_CONVICT,
    Run,
    Stand,
    Suspicion,
    admit,
    after_start,
    after_stop,
    pass_by,
    settled,
)

TOPIC = "t"
# What a record that kills needs at most: to be counted among others, to be come closer to in runs
# that double, to be counted alone.
STARTS_PER_RECORD = 16


@dataclass
class World:
    """Partitions of records, and processes that read them one after the other."""

    lengths: list[int]
    poison: set[Position]
    window: int
    left: Suspicion = field(default_factory=Suspicion)
    settled: set[Position] = field(default_factory=set)
    crashed: list[Position] = field(default_factory=list)
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    size: int = 1
    deaths_alone: dict[Position, int] = field(default_factory=dict)

    def watermark(self, n: int) -> int:
        unsettled = (o for o in range(self.lengths[n]) if Position(TOPIC, n, o) not in self.settled)
        return next(unsettled, self.lengths[n])

    def watermarks(self) -> dict[tuple[str, int], int]:
        return {(TOPIC, n): self.watermark(n) for n in range(len(self.lengths))}

    def finished(self) -> bool:
        return all(self.watermark(n) == length for n, length in enumerate(self.lengths))

    def live(self, interrupt: Callable[[], str]) -> None:
        """One life: until all is settled, a record kills it, or `interrupt` says kill or stop."""
        marks = self.watermarks()
        self.left = after_start(self.left, watermarks=marks, reached=self.reached)
        positions = dict(marks)
        self.size = 1
        while not self.finished():
            what = interrupt()
            if what == "kill":
                self._die()
                return
            if what == "stop":
                self.left = after_stop(self.left)
                self.reached = {}
                return
            if not (
                self._step_carefully(positions) if self.left.careful else self._step(positions)
            ):
                return

    def _die(self) -> None:
        if self.left.handed is not None:
            count = self.deaths_alone.get(self.left.handed, 0)
            self.deaths_alone[self.left.handed] = count + 1

    def _step(self, positions: dict[tuple[str, int], int]) -> bool:
        """Hands out a window of every partition; the first ones may be settled before a death."""
        batch = []
        for n, length in enumerate(self.lengths):
            start = positions[TOPIC, n]
            end = min(length, start + self.window)
            positions[TOPIC, n] = end
            if end > start:
                self.reached[TOPIC, n] = end
            batch += [Position(TOPIC, n, o) for o in range(start, end)]
        batch = [position for position in batch if position not in self.settled]
        if self.poison.intersection(batch):
            return False
        self.settled.update(batch)
        return True

    def _step_carefully(self, positions: dict[tuple[str, int], int]) -> bool:
        for n, length in enumerate(self.lengths):
            place = (TOPIC, n)
            self.left = pass_by(self.left, place, self.watermark(n))
            positions[place] = max(positions[place], self.watermark(n))
            run: Run | None = None
            records = []
            for offset in range(positions[place], length):
                position = Position(TOPIC, n, offset)
                admitted = admit(self.left, run, position, size=self.size)
                if admitted is None:
                    break
                self.left, run = admitted
                records.append(position)
            if records:
                self.size *= 2
                return self._process(records)
        return True

    def _process(self, run: list[Position]) -> bool:
        """Works on a run; True where the process lives on."""
        for position in run:
            if position in self.settled:
                continue
            if self.left.convicted(position):
                self.crashed.append(position)
            elif position in self.poison:
                self._die()
                return False
            self.settled.add(position)
        self.left = settled(self.left)
        return True


lengths = st.lists(st.integers(0, 12), min_size=1, max_size=3)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    sizes = draw(lengths)
    everywhere = [Position(TOPIC, n, o) for n, size in enumerate(sizes) for o in range(size)]
    poison = draw(st.sets(st.sampled_from(everywhere), max_size=3)) if everywhere else set()
    return World(sizes, poison, draw(st.integers(1, 8)))


@given(world=worlds())
def test_exactly_the_records_that_kill_are_put_aside_and_all_others_are_processed(world):
    for _ in range(1 + STARTS_PER_RECORD * (1 + len(world.poison))):
        world.live(lambda: "")
    assert world.finished()
    assert sorted(world.crashed) == sorted(world.poison)


@settings(max_examples=300)
@given(world=worlds(), whats=st.lists(st.sampled_from(["", "", "", "kill", "stop"]), max_size=150))
def test_kills_and_stops_convict_nobody_who_was_not_alone_at_three_deaths(world, whats):
    told = iter(whats)
    for _ in range(len(whats) + STARTS_PER_RECORD * (1 + len(world.poison))):
        world.live(lambda: next(told, ""))
    assert world.finished()
    assert world.poison <= set(world.crashed)
    for position in world.crashed:
        assert world.deaths_alone[position] >= DEATHS_TO_CONVICT


@given(world=worlds(), lives=st.integers(1, 40))
def test_stops_alone_never_change_how_records_are_handed_out(world, lives):
    world.poison = set()
    for life in range(lives):
        steps = iter([""] * (life % 3))
        world.live(lambda steps=steps: next(steps, "stop"))
        assert not world.left.careful
    assert world.crashed == []


@given(
    starts=st.integers(1, 6), before=st.integers(0, 5), now=st.integers(0, 5), end=st.integers(0, 9)
)
def test_only_starts_that_find_the_same_watermark_with_records_above_it_count(
    starts, before, now, end
):
    last = Suspicion({(TOPIC, 0): Stand(before, starts)})
    begun = after_start(last, watermarks={(TOPIC, 0): now}, reached={(TOPIC, 0): end})
    stand = begun.stands.get((TOPIC, 0))
    if end <= now:
        assert stand is None
        assert not begun.careful
    else:
        assert stand == Stand(now, starts + 1 if before == now else 1)
        assert begun.careful == (stand.starts >= 3)


def test_partitions_of_others_are_forgotten():
    last = Suspicion(
        {("gone", 0): Stand(0, 9)}, {("gone", 0): 5}, {Position("gone", 0, 1): 2}, None
    )
    assert after_start(last, watermarks={(TOPIC, 0): 0}, reached={("gone", 0): 5}) == Suspicion()
