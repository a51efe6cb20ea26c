"""Lanes that share limits: of a provider, of a site, of a domain in it."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from connectors.smtp.items import Decision, Fact, Freed, LetGo, Postpone, Queued, Send, Terms, Tick
from flows.operators.lane import Lane, LanePorts
from sealwax.model.delivery import Position
from sealwax.model.event import Cause
from sealwax.policy.lane import SHARED_IDLE_S
from sealwax.policy.retry import RetrySettings
from sealwax.policy.shaping.shape import Bound, Scope, Shape, What, site_shape
from sealwax.policy.throttle import Rate
from sealwax.store.limits import InProcessLimits
from tests.support.deliveries import OK, READY, START_MS, delivery, ended


def shape(*bounds: Bound) -> Shape:
    return Shape(bounds, "p")


def of_provider(what: What, value: int | Rate, *, per_ip: bool = False) -> Bound:
    return Bound(Scope.PROVIDER, what, value, per_ip, rule="p v1")


@dataclass
class Lanes:
    """All lanes of a process, on one clock; sessions end when the test says so."""

    shape: Shape
    domains: dict[str, tuple[Bound, ...]] = field(default_factory=dict)
    ms: int = START_MS

    def __post_init__(self) -> None:
        self.ticks: list[tuple[float, str]] = []
        self.lanes: dict[str, Lane] = {}
        self.sent: list[Send] = []
        self.let_go: list[str] = []
        self.postponed: list[Postpone] = []
        self.ports = LanePorts(
            shape=lambda _queued: self.shape,
            retry=RetrySettings(),
            clock=self,
            clock_trusted=lambda: True,
            waiting_ms=lambda: self.ms,
            draw=lambda: 0.5,
            wake=lambda at_ms, site: self.ticks.append((at_ms, site)),
            stalled=lambda: False,
            shared=InProcessLimits(lambda site, at_ms: self.ticks.append((at_ms, site))),
            domain_bounds=lambda domain: self.domains.get(domain, ()),
        )

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def give(self, site: str, *facts: Fact) -> list[Send]:
        """The messages that go."""
        lane = self.lanes.setdefault(site, Lane(self.ports))
        decisions: list[Decision] = list(lane.on_batch(list(facts))[0])
        self.let_go += [one.site for one in decisions if isinstance(one, LetGo)]
        self.postponed += [one for one in decisions if isinstance(one, Postpone)]
        sent = [one for one in decisions if isinstance(one, Send)]
        self.sent += sent
        return sent

    def end(self, send: Send, *, freed: bool = True) -> list[Send]:
        """Its session ends with it, or is kept."""
        facts: list[Fact] = [ended(send, OK, self.ms)]
        return self.give(send.queued.site, *facts, *([Freed(1)] if freed else []))

    def after(self, ms: int) -> list[Send]:
        """Gives the ticks of so long; what went."""
        self.ms += ms
        before = len(self.sent)
        while due := [one for one in self.ticks if one[0] <= self.ms]:
            self.ticks = [one for one in self.ticks if one[0] > self.ms]
            for _, site in due:
                self.give(site, Tick(site))
        return self.sent[before:]


def mail(site: str, offset: int = 0, domain: str = "", **changes) -> Queued:
    domain = domain or f"{site}.test"
    one = delivery(rcpt=f"a@{domain}", rcpt_domain=domain, **changes)
    return Queued(site, one, Position(READY, 0, offset))


def test_sites_of_one_provider_together_have_its_connections_and_take_turns():
    lanes = Lanes(shape(*site_shape(3).bounds, of_provider(What.CONNECTIONS, 5)))
    for n in range(20):
        lanes.give(f"s{n}", *(mail(f"s{n}", i) for i in range(4)))
    assert len(lanes.sent) == 5
    working = list(lanes.sent)
    while working:
        assert len(working) <= 5
        lanes.ms += 10
        before = len(lanes.sent)
        lanes.end(working.pop(0))
        lanes.after(1)
        working += lanes.sent[before:]
    assert len(lanes.sent) == 80
    first = Counter(send.queued.site for send in lanes.sent[:40])
    assert len(first) == 20, "nobody waits for all mail of another site"


def test_a_site_keeps_to_its_own_limit_within_that_of_its_provider():
    lanes = Lanes(shape(*site_shape(2).bounds, of_provider(What.CONNECTIONS, 3)))
    assert len(lanes.give("a", *(mail("a", i) for i in range(4)))) == 2
    assert len(lanes.give("b", *(mail("b", i) for i in range(4)))) == 1


def test_a_message_takes_a_connection_that_is_kept_and_opens_none():
    lanes = Lanes(site_shape(2))
    (first,) = lanes.give("a", mail("a", 0))
    assert first.permits == 1
    lanes.end(first, freed=False)
    second, third = lanes.give("a", mail("a", 1), mail("a", 2))
    assert [second.permits, third.permits] == [0, 1]
    assert lanes.give("a", mail("a", 3)) == []


def test_a_connection_that_closed_while_a_message_was_on_its_way_to_it_is_counted_on():
    lanes = Lanes(site_shape(1))
    (first,) = lanes.give("a", mail("a", 0))
    lanes.end(first, freed=False)
    (second,) = lanes.give("a", mail("a", 1))
    assert second.permits == 0
    # The engine says that the kept one is gone; the message opens another by the same permit.
    assert lanes.give("a", Freed(1), mail("a", 2)) == []
    assert [one.permits for one in lanes.end(second, freed=False)] == [0]


def test_connections_without_a_message_end_where_others_wait_for_them():
    lanes = Lanes(shape(of_provider(What.CONNECTIONS, 1)))
    (first,) = lanes.give("a", mail("a", 0))
    assert first.terms == Terms(idle_s=SHARED_IDLE_S)
    assert lanes.give("b", mail("b", 0)) == []
    lanes.end(first, freed=False)
    assert lanes.let_go == ["a"]
    lanes.give("a", Freed(1))
    (second,) = lanes.after(1)
    assert second.queued.site == "b"


def test_a_lane_that_has_mail_lets_others_go_first_when_its_connection_is_full():
    lanes = Lanes(shape(of_provider(What.CONNECTIONS, 1)))
    (first,) = lanes.give("a", *(mail("a", i) for i in range(9)))
    lanes.give("b", mail("b", 0))
    (second,) = lanes.end(first)  # it stood before the other
    assert lanes.end(second) == []
    (third,) = lanes.after(1)
    assert third.queued.site == "b"


def test_a_lane_that_waits_for_its_rate_keeps_its_connections_and_holds_up_nobody():
    """Neither does it end what it will use, nor stand in line for what it cannot use."""
    by_rate = Bound(Scope.SITE, What.RATE, Rate(1_000))
    lanes = Lanes(shape(*site_shape(9).bounds, by_rate, of_provider(What.CONNECTIONS, 3)))
    (first,) = lanes.give("a", *(mail("a", i) for i in range(50)))
    lanes.end(first, freed=False)
    (second,) = lanes.after(1_000)
    assert second.permits == 0
    assert lanes.let_go == []
    lanes.shape = shape(*site_shape(9).bounds, of_provider(What.CONNECTIONS, 3))
    assert len(lanes.give("b", *(mail("b", i) for i in range(5)))) == 2


def test_the_rate_of_a_provider_is_shared_by_its_sites_in_turn_and_named():
    lanes = Lanes(shape(*site_shape(50).bounds, of_provider(What.RATE, Rate(100))))
    for site in ("a", "b", "c"):
        lanes.give(site, *(mail(site, i) for i in range(20)))
    for _ in range(600):
        lanes.after(5)
    assert len(lanes.sent) == pytest.approx(31, abs=1)
    counts = Counter(send.queued.site for send in lanes.sent)
    assert max(counts.values()) - min(counts.values()) <= 2, counts
    waits = [wait for wait in lanes.sent[-1].waits if wait.ms > 1_000]
    assert [(wait.cause, wait.rule) for wait in waits] == [(Cause.RATE, "provider:p.rate")]


def test_what_one_limit_refuses_the_others_get_back():
    rates = (Bound(Scope.SITE, What.RATE, Rate(10, 10)), of_provider(What.RATE, Rate(1_000)))
    lanes = Lanes(shape(*site_shape(50).bounds, *rates))
    assert len(lanes.give("a", *(mail("a", i) for i in range(10)))) == 1
    lanes.shape = shape(*site_shape(50).bounds, rates[0])
    sent = lanes.give("a", Tick("a"))  # the same lane: it keeps the limits that it began with
    assert sent == []
    own = lanes.ports.shared.rate("site:a", Rate(10, 10))
    assert own.take(9, lanes.ms).granted == 9


def test_connections_are_opened_at_their_own_rate_and_one_is_tried_for_a_message():
    by_rate = Bound(Scope.SITE, What.CONNECTION_RATE, Rate(1_000))
    lanes = Lanes(shape(*site_shape(10).bounds, by_rate))
    (first,) = lanes.give("a", *(mail("a", i) for i in range(6)))
    assert first.terms.most_connections == 1
    # A kept connection takes the next one without a token.
    (second,) = lanes.end(first, freed=False)
    assert second.permits == 0
    assert lanes.after(500) == []
    (third,) = lanes.after(500)
    assert third.permits == 1
    rules = {wait.rule for wait in third.waits if wait.ms >= 1_000}
    assert rules == {"site:a.connection_rate"}


def test_messages_per_connection_are_said_to_the_session():
    bounds = [Bound(Scope.SITE, What.MESSAGES_PER_CONNECTION, n) for n in (50, 20)]
    lanes = Lanes(shape(*site_shape(1).bounds, *bounds))
    (sent,) = lanes.give("a", mail("a"))
    assert sent.terms.most_messages == 20


def test_each_source_address_counts_for_itself_where_a_limit_says_so():
    lanes = Lanes(shape(of_provider(What.CONNECTIONS, 1, per_ip=True)))
    assert len(lanes.give("a", mail("a", source_ip="192.0.2.1"))) == 1
    assert len(lanes.give("b", mail("b", source_ip="192.0.2.2"))) == 1
    assert len(lanes.give("c", mail("c", source_ip="192.0.2.1"))) == 0


def test_a_domain_at_its_limit_leaves_all_others_of_its_site_alone():
    slow = (Bound(Scope.DOMAIN, What.RATE, Rate(1_000), rule="slow v1"),)
    lanes = Lanes(site_shape(4), {"slow.test": slow})
    first = lanes.give("a", *(mail("a", i, "slow.test") for i in range(50)))
    assert len(first) == 1
    others = lanes.give("a", *(mail("a", 100 + i, "fast.test") for i in range(3)))
    assert {send.queued.delivery.rcpt_domain for send in others} == {"fast.test"}
    assert len(others) == 3
    for send in (*first, *others):
        lanes.end(send, freed=False)
    assert lanes.after(900) == []
    (second,) = lanes.after(200)
    assert second.queued.delivery.rcpt_domain == "slow.test"
    long = [(wait.cause, wait.rule) for wait in second.waits if wait.ms > 500]
    assert long == [(Cause.RATE, "domain:slow.test.rate")]


def test_a_domain_has_no_more_messages_in_sessions_than_its_connections():
    few = (Bound(Scope.DOMAIN, What.CONNECTIONS, 1),)
    lanes = Lanes(site_shape(4), {"few.test": few})
    (first,) = lanes.give("a", *(mail("a", i, "few.test") for i in range(5)))
    assert lanes.after(100) == []
    (second,) = lanes.end(first, freed=False)
    assert second.permits == 0


@pytest.mark.parametrize("per_ip", [False, True])
def test_a_domain_whose_connections_another_process_has_goes_on_when_they_come_back(per_ip):
    few = (Bound(Scope.DOMAIN, What.CONNECTIONS, 1, per_ip),)
    lanes = Lanes(site_shape(4), {"few.test": few})
    name = "domain:few.test@192.0.2.1" if per_ip else "domain:few.test"
    others = lanes.ports.shared.permits(name, 1)
    assert others.take(1) == 1
    here = {"source_ip": "192.0.2.1"}
    assert lanes.give("a", mail("a", 0, "few.test", **here)) == []
    assert lanes.after(100) == []
    others.give_back(1)
    assert len(lanes.after(1)) == 1


def test_mail_that_waits_for_its_domain_is_parked_and_lost_nowhere():
    slow = (Bound(Scope.DOMAIN, What.RATE, Rate(60_000)),)
    lanes = Lanes(site_shape(4), {"slow.test": slow})
    lanes.give("a", *(mail("a", i, "slow.test") for i in range(9)))
    for _ in range(11):
        lanes.after(1_000)
    assert len(lanes.sent) + len(lanes.postponed) == 9
    rules = {wait.rule for one in lanes.postponed for wait in one.waits if wait.ms > 5_000}
    assert rules == {"domain:slow.test.rate"}
    assert lanes.give("a", mail("a", 10, "fast.test"))
