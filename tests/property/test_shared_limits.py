"""Processes that share a limit through a real server, on a clock that the test moves.

Whatever the server does, the processes together keep to the limit; what a process does that cannot
know of the others adds its own lease to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy import sharing
from sealwax.policy.sharing import Standing, share
from sealwax.policy.throttle import Rate
from tests.support.limits import Process, World
from tests.support.valkey import Valkey

STEP_MS = 10
NAME = "site:a"
LONGEST_MS = 9_000  # of a session; shorter than a lease of permits


@given(most=st.integers(1, 40), members=st.integers(1, 20), name=st.text(max_size=8))
def test_the_shares_of_all_members_come_to_the_limit(most, members, name):
    shares = [share(most, name, Standing(0.0, members, rank)) for rank in range(members)]
    assert sum(shares) == most
    assert max(shares) - min(shares) <= 1


@dataclass
class Site:
    """What one process does with the limit: sessions that it opened and when they end."""

    process: Process
    most: int
    rate: Rate
    sends: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    wants: int = 0
    paused: bool = False
    longest_ms: int = LONGEST_MS

    def __post_init__(self) -> None:
        self.permits = self.process.limits.permits(NAME, self.most)
        self.tokens = self.process.limits.rate(NAME, self.rate)

    def step(self, now_ms: float, random: Random) -> None:
        """As a lane does."""
        if self.paused:
            return
        over = [at_ms for at_ms in self.ends if at_ms <= now_ms]
        self.permits.give_back(len(over))
        self.ends = [at_ms for at_ms in self.ends if at_ms > now_ms]
        room = self.permits.room(self.wants, now_ms)
        granted = self.tokens.take(room, now_ms).granted if room else 0
        self.permits.take(granted)
        self.sends += [now_ms] * granted
        self.ends += [now_ms + random.uniform(20, random.choice([100, self.longest_ms]))] * granted
        self.process.turn()


def most_above(rate: Rate, sends: Sequence[float]) -> float:
    """How many more there were in some span than the rate allows in it, its burst included."""
    most = level = 0.0
    for before_ms, at_ms in zip([sends[0], *sends], sends, strict=False):
        level = max(0.0, level - (at_ms - before_ms) / rate.period_ms) + 1
        most = max(most, level)
    return most - rate.burst


@dataclass
class Drama:
    """A number of processes at work for a while; fails when they exceed the limit."""

    valkey: Valkey
    seed: int

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.world = World(self.valkey.port, self.seed)
        self.most = self.random.randint(1, 9)
        period_ms = self.random.choice([2, 20, 300, 3_000])
        self.rate = Rate(period_ms, max(1, int(100 / period_ms)))
        processes = [self.world.process() for _ in range(self.random.randint(2, 4))]
        for _ in range(700):  # until all have seen each other, and the server speaks
            self.world.now_ms += STEP_MS
            for process in processes:
                process.turn()
        self.sites = [Site(process, self.most, self.rate) for process in processes]
        self.highest = 0

    def run(self, ms: int, extra: int = 0) -> None:
        """Goes on for a while, in which there may be `extra` sessions above the limit."""
        for _ in range(0, ms, STEP_MS):
            self.world.now_ms += STEP_MS
            for site in self.random.sample(self.sites, len(self.sites)):
                if self.random.random() < STEP_MS / 2_000:
                    site.wants = self.random.choice([0, 1, self.most, 50])
                site.step(self.world.now_ms, self.random)
                used = sum(len(site.ends) for site in self.sites)
                assert used <= self.most + extra, self.seed
                self.highest = max(self.highest, used)

    def check_rate(self, extra: float) -> None:
        """No span holds more than the rate, its burst, a lease and `extra`."""
        sends = sorted(at_ms for site in self.sites for at_ms in site.sends)
        lease = sharing.AHEAD_MS / self.rate.period_ms
        assert most_above(self.rate, sends) <= lease + extra + 1e-6, self.seed

    def close(self) -> None:
        self.world.close()


@pytest.fixture
def drama(valkey, request):
    made = Drama(valkey, request.param)
    yield made
    made.close()


seeds = pytest.mark.parametrize("drama", range(12), indirect=True)


@seeds
def test_processes_together_keep_to_a_limit_and_use_it(drama):
    drama.run(20_000)
    drama.check_rate(0)
    for site in drama.sites:
        site.wants = 50
    for site in drama.sites:
        site.sends.clear()
    drama.random = Random(drama.seed)
    before = drama.world.now_ms
    for _ in range(1_500):
        drama.world.now_ms += STEP_MS
        for site in drama.sites:
            site.step(drama.world.now_ms, drama.random)
    sent = sum(len(site.sends) for site in drama.sites)
    by_rate = (drama.world.now_ms - before) / drama.rate.period_ms
    assert drama.highest == drama.most or sent >= 0.75 * by_rate - 2


@seeds
def test_a_server_that_is_away_or_forgets_takes_no_limit_with_it(drama):
    drama.run(5_000)
    for _ in range(3):
        drama.world.there = False
        if drama.random.random() < 0.7:
            drama.world.lose_memory()
        drama.run(drama.random.choice([20, 300, 2_000, 30_000]))
        drama.world.there = True
        drama.run(drama.random.choice([1_000, 10_000]))
    drama.world.lose_memory()  # nobody's connection is lost with it
    drama.run(10_000)
    # Each process alone rounds its part up: of a slow rate a second's worth is less than that.
    drama.check_rate(len(drama.sites))


@pytest.mark.parametrize("away_ms", [300, 1_500, 2_500, 4_000, 6_000])
@pytest.mark.parametrize("rate", [Rate(10, 100), Rate(100, 3), Rate(300)], ids=str)
def test_a_server_that_comes_back_with_its_memory_does_not_grant_what_was_used_meanwhile(
    valkey, rate, away_ms
):
    world = World(valkey.port)
    processes = [world.process() for _ in range(3)]
    tokens = [process.limits.rate(NAME, rate) for process in processes]
    sends: list[float] = []

    def run(ms: int) -> None:
        for _ in range(0, ms, STEP_MS):
            world.now_ms += STEP_MS
            for process, one in zip(processes, tokens, strict=True):
                if world.now_ms >= begun_ms:
                    sends.extend([world.now_ms] * one.take(200, world.now_ms).granted)
                process.turn()

    begun_ms = world.now_ms + 5_000
    run(10_000)
    for _ in range(3):
        world.there = False
        run(away_ms)
        world.there = True
        run(4_000)
    # Who takes what it can when it can has nothing left of a lease: each rounds up to one.
    assert most_above(rate, sends) <= len(processes)
    after = [at_ms for at_ms in sends if at_ms > world.now_ms - 1_000]
    assert len(after) == pytest.approx(1_000 / rate.period_ms, abs=2)
    world.close()


@seeds
def test_who_stands_still_or_is_cut_off_adds_no_more_than_what_it_holds(drama):
    drama.run(5_000)
    for _ in range(3):
        one = drama.random.choice(drama.sites)
        one.paused = drama.random.random() < 0.5
        one.process.reached = one.paused
        begun = len(one.sends)
        drama.run(drama.random.choice([300, 30_000]), extra=drama.most)
        if one.paused:
            assert len(one.sends) == begun
        one.paused, one.process.reached = False, True
        drama.run(10_000, extra=drama.most)
        # Its sessions are known again, and ended: nothing is left of it.
        drama.run(10_000)


def test_with_more_processes_than_permits_each_has_its_turn(valkey):
    world = World(valkey.port)
    sites = [Site(world.process(), 1, Rate(1, 1_000), longest_ms=100) for _ in range(3)]
    random = Random(1)
    for site in sites:
        site.wants = 5
    for _ in range(9_000):
        world.now_ms += STEP_MS
        for site in sites:
            site.step(world.now_ms, random)
        assert sum(len(site.ends) for site in sites) <= 1
    assert min(len(site.sends) for site in sites) >= max(len(site.sends) for site in sites) / 4
    world.close()


def test_the_servers_clock_may_be_set(valkey):
    world = World(valkey.port)
    site = Site(world.process(), 2, Rate(50, 2))
    site.wants = 5
    random = Random(1)
    for jump_ms in (0, -3_600_000, 3_600_000):
        world.server_ahead_ms += jump_ms
        begun = len(site.sends)
        for _ in range(3_000):
            world.now_ms += STEP_MS
            site.step(world.now_ms, random)
            assert len(site.ends) <= 2
        assert len(site.sends) > begun + 2
    world.close()


def test_what_nobody_uses_leaves_no_key(valkey):
    world = World(valkey.port)
    process = world.process()
    sites = [process.limits.permits(f"site:{n}", 2) for n in range(50)]
    for wanted in (1, 0):
        for n, permits in enumerate(sites):
            permits.room(wanted, world.now_ms)
            process.limits.rate(f"site:{n}", Rate(1_000)).take(1, world.now_ms)
        for _ in range(1_000):
            world.now_ms += STEP_MS
            process.turn()
        keys = [key for key in world.stored() if b":permits:" in key]
        assert len(keys) == (50 if wanted else 0)
    assert not process.limits._active
    world.close()


def test_who_stood_still_for_longer_than_its_lease_begins_nothing_before_it_has_asked(valkey):
    world = World(valkey.port)
    process = world.process()
    permits = process.limits.permits(NAME, 3)
    permits.room(3, world.now_ms)
    for _ in range(500):
        world.now_ms += STEP_MS
        process.turn()
    world.now_ms += 9_000  # the last renewal is up to five seconds older
    assert permits.room(3, world.now_ms) == 3
    world.now_ms += 6_001
    assert permits.room(3, world.now_ms) == 0
    for _ in range(500):
        world.now_ms += STEP_MS
        process.turn()
    assert permits.room(3, world.now_ms) == 3
    world.close()


def test_what_is_in_use_is_told_to_a_server_that_forgot_before_it_says_anything(valkey):
    world = World(valkey.port)
    one, other = world.process(), world.process()
    permits = one.limits.permits(NAME, 3)
    permits.room(3, world.now_ms)
    others = other.limits.permits(NAME, 3)
    for step in range(1_000):
        world.now_ms += STEP_MS
        one.turn()
        other.turn()
        if step == 500:
            permits.take(permits.room(3, world.now_ms))
        if step == 510:
            world.lose_memory()
        if step > 510:
            assert others.room(3, world.now_ms) == 0
    world.close()
