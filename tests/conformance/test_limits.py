"""What every keeper of limits holds to, on a clock that the test moves."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from sealwax.policy.throttle import Rate
from sealwax.store.limits import InProcessLimits, Limits
from tests.support.limits import World
from tests.support.valkey import Valkey


@dataclass
class Kept:
    """Limits, and a clock that moves while whoever counts goes on."""

    limits: Limits
    now_ms: Callable[[], float]
    move: Callable[[float], None]
    room: list[tuple[str, float]]


def in_process() -> Kept:
    now = [1_000_000.0]

    def move(ms: float) -> None:
        now[0] += ms

    room: list[tuple[str, float]] = []
    limits = InProcessLimits(lambda *said: room.append(said))
    return Kept(limits, lambda: now[0], move, room)


def shared(world: World) -> Kept:
    process = world.process()

    def move(ms: float) -> None:
        until_ms = world.now_ms + ms
        while world.now_ms < until_ms:
            process.turn()
            world.now_ms = min(until_ms, world.now_ms + 5)
        process.turn()

    move(10_000)  # a counter that is new says nothing at first
    return Kept(process.limits, lambda: world.now_ms, move, process.room)


@pytest.fixture(params=["in process", "redis"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    if request.param == "in process":
        yield in_process()
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    world = World(valkey.port)
    yield shared(world)
    world.close()


def test_permits_are_given_up_to_the_limit_and_again_when_they_come_back(kept):
    permits = kept.limits.permits("site:a", 3)
    permits.room(5, kept.now_ms())
    kept.move(50)
    assert permits.room(2, kept.now_ms()) == 2
    permits.take(2)
    kept.move(50)
    assert permits.room(5, kept.now_ms()) == 1
    permits.take(1)
    kept.move(1_000)
    assert permits.room(5, kept.now_ms()) == 0
    permits.give_back(2)
    assert permits.room(5, kept.now_ms()) == 2


def test_permits_that_are_used_stay_for_as_long_as_they_are_used(kept):
    permits = kept.limits.permits("site:a", 2)
    permits.room(2, kept.now_ms())
    kept.move(50)
    permits.take(permits.room(2, kept.now_ms()))
    kept.move(600_000)
    assert permits.room(1, kept.now_ms()) == 0
    permits.give_back(1)
    permits.room(1, kept.now_ms())
    kept.move(50)
    assert permits.room(1, kept.now_ms()) == 1


def test_one_name_is_one_limit_for_all_who_hold_it_and_another_name_is_another(kept):
    first, second = (kept.limits.permits("site:a", 1) for _ in range(2))
    other = kept.limits.permits("site:b", 1)
    for permits in (first, other):
        permits.room(1, kept.now_ms())
    kept.move(50)
    assert first.room(1, kept.now_ms()) == 1
    first.take(1)
    assert second.room(1, kept.now_ms()) == 0
    assert other.room(1, kept.now_ms()) == 1


def taken(kept: Kept, rate: Rate, ms: float, wanted: int) -> list[float]:
    """When each message goes for whom a lane asks every 5 ms."""
    limit = kept.limits.rate("site:a", rate)
    times = []
    for _ in range(int(ms / 5)):
        granted, again_at_ms = limit.take(wanted, kept.now_ms())
        assert (again_at_ms is None) == (granted == wanted)
        assert again_at_ms is None or again_at_ms > kept.now_ms()
        times += [kept.now_ms()] * granted
        kept.move(5)
    return times


@pytest.mark.parametrize(
    ("rate", "wanted"),
    [(Rate(20), 5), (Rate(2, 50), 40), (Rate(300), 1), (Rate(4_000), 2)],
    ids=str,
)
def test_a_rate_is_used_up_and_no_more_than_a_second_of_it_beside_its_burst(kept, rate, wanted):
    ms = max(5_000, 4 * rate.period_ms)
    times = taken(kept, rate, ms, wanted)
    assert len(times) >= 0.9 * ms / rate.period_ms - 1
    for i, first in enumerate(times):
        for n, last in enumerate(times[i:], start=1):
            assert n <= (last - first + 1_000) / rate.period_ms + rate.burst + 1


def test_a_rate_that_was_not_used_lets_no_more_go_than_its_burst(kept):
    rate = Rate(100, 5)
    taken(kept, rate, 1_000, 2)
    kept.move(60_000)
    assert len(taken(kept, rate, 100, 10)) <= 6


def test_after_it_refused_it_says_when_there_is_room(kept):
    """In process for permits when one comes back, and for rates with the refusal itself."""
    permits = kept.limits.permits("site:a", 1)
    if isinstance(kept.limits, InProcessLimits):
        assert kept.limits.rate("site:a", Rate(100)).take(2, 0.0) == (1, 100.0)
        assert permits.take(1) == 1
        assert permits.room(1, kept.now_ms(), "lane") == 0
        permits.give_back(1)
        assert [who for who, _ in kept.room] == ["lane"]
        return
    assert permits.room(1, kept.now_ms(), "lane") == 0
    kept.move(50)
    assert [who for who, _ in kept.room] == ["lane"]
    assert kept.limits.rate("site:b", Rate(100)).take(1, kept.now_ms(), "other").granted == 0
    kept.move(50)
    assert [who for who, _ in kept.room] == ["lane", "other"]


@pytest.mark.parametrize("wants", [1, 50])
def test_those_who_wait_for_permits_have_their_turn_one_after_the_other(kept, wants):
    permits = kept.limits.permits("provider:p", 2)
    lanes = [f"lane {n}" for n in range(6)]
    in_use: list[str] = []
    turns: list[str] = []
    for step in range(400):
        if step % 10 == 0 and in_use:
            permits.give_back(1)
            in_use.pop(0)
        for lane in lanes if step % 2 else reversed(lanes):
            granted = permits.take(permits.room(wants, kept.now_ms(), lane), lane)
            in_use += [lane] * granted
            turns += [lane] * granted
        assert len(in_use) <= 2
        kept.move(20)
    counts = [turns.count(lane) for lane in lanes]
    assert min(counts) >= max(counts) - 3, counts


def test_those_who_wait_for_a_rate_have_their_turn_one_after_the_other(kept):
    limit = kept.limits.rate("provider:p", Rate(20))
    lanes = [f"lane {n}" for n in range(6)]
    turns = Counter[str]()
    for step in range(1_200):
        for lane in lanes if step % 2 else reversed(lanes):
            turns[lane] += limit.take(100, kept.now_ms(), lane).granted
        kept.move(5)
    assert sum(turns.values()) >= 0.9 * 1_200 * 5 / 20
    assert min(turns.values()) >= 0.8 * max(turns.values()), turns


def test_who_wants_no_more_is_not_waited_for(kept):
    permits = kept.limits.permits("provider:p", 1)
    permits.room(1, kept.now_ms(), "one")
    permits.room(1, kept.now_ms(), "other")
    kept.move(50)
    permits.room(0, kept.now_ms(), "one")
    assert permits.room(1, kept.now_ms(), "other") == 1
    limit = kept.limits.rate("provider:p", Rate(1_000))
    limit.take(1, kept.now_ms(), "one")
    for lane in ("one", "other"):
        kept.move(300)
        limit.take(1, kept.now_ms(), lane)
    limit.take(0, kept.now_ms(), "one")
    waited_ms = 0
    while not limit.take(1, kept.now_ms(), "other").granted:
        waited_ms += 50
        kept.move(50)
    assert waited_ms <= 1_600


def test_what_was_taken_of_a_rate_and_is_not_used_goes_to_the_next(kept):
    limit = kept.limits.rate("site:a", Rate(50))
    sent = 0
    for _ in range(400):
        granted = limit.take(3, kept.now_ms()).granted
        limit.give_back(granted - min(1, granted))
        sent += min(1, granted)
        kept.move(10)
    limit_ms = 400 * 10
    assert sent >= 0.85 * limit_ms / 50
    assert sent <= (limit_ms + 1_000) / 50 + 1
