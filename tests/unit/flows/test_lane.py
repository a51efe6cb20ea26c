"""A lane on a clock of its own: who goes when, and where the time went."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from connectors.smtp.items import Decision, Fact, Freed, Postpone, Send, Tick, Verdict
from flows.operators.lane import Lane, LanePorts, waiting_in
from sealwax.model.event import Cause, Kind
from sealwax.model.reply import Command, Reply
from sealwax.policy.retry import RetrySettings
from sealwax.policy.shaping.shape import Shape, site_shape
from sealwax.policy.throttle import Rate
from sealwax.store.limits import InProcessLimits, Limits
from tests.support.deliveries import LATER, OK, REFUSED, START_MS, ended, queued


@dataclass
class Clock:
    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


@dataclass
class Bench:
    """A lane, what it asked for, and what it decided."""

    settings: Shape = field(default_factory=lambda: site_shape(connections=2))
    stalled: bool = False
    clock_trusted: bool = True
    log_away_ms: int = 0
    shared: Limits = field(default_factory=InProcessLimits)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.wakes: list[float] = []
        self.discarded = False
        ports = LanePorts(
            shape=lambda _queued: self.settings,
            retry=RetrySettings(),
            clock=self.clock,
            clock_trusted=lambda: self.clock_trusted,
            waiting_ms=lambda: self.clock.ms - self.log_away_ms,
            draw=lambda: 0.5,
            wake=lambda at_ms, _site: self.wakes.append(at_ms),
            stalled=lambda: self.stalled,
            shared=self.shared,
        )
        self.lane = Lane(ports)
        self.lanes = ports.lanes

    def give(self, *facts: Fact) -> list[Decision]:
        decisions, self.discarded = self.lane.on_batch(list(facts))
        return list(decisions)

    def after(self, ms: int, *facts: Fact) -> list[Decision]:
        self.clock.ms += ms
        return self.give(*(facts or (Tick("site"),)))


def offsets(decisions: list[Decision]) -> list[int]:
    return [d.queued.source.offset for d in decisions if isinstance(d, Send | Postpone)]


def test_no_more_messages_go_than_there_are_connections():
    bench = Bench()
    sent = bench.give(*(queued(i) for i in range(5)))
    assert offsets(sent) == [0, 1]
    assert bench.after(10) == []
    assert offsets(bench.after(10, ended(sent[0], OK, bench.clock.ms))) == [2]


def test_two_lanes_of_a_site_share_its_connections_and_its_rate():
    settings = site_shape(connections=3, rate=Rate(period_ms=100, burst=2))
    one = Bench(settings)
    other = Bench(settings, shared=one.shared)
    sent = one.give(queued(0), queued(1))
    assert offsets(sent) == [0, 1]
    assert offsets(other.give(queued(2), queued(3))) == []  # the rate
    assert offsets(other.after(100)) == [2]
    assert offsets(other.after(400)) == []  # the connections
    one.after(500, ended(sent[0], OK, one.clock.ms))
    assert offsets(other.after(1)) == []  # the connection is kept for the next message
    one.give(Freed(1))
    (last,) = other.after(1)
    assert isinstance(last, Send)
    by_cause = {wait.rule: wait.ms for wait in last.waits if wait.cause is not Cause.QUEUE}
    assert by_cause["site:site.connections"] == 502


def test_a_slot_of_the_rate_is_booked_only_with_a_session():
    bench = Bench(site_shape(connections=1, rate=Rate(period_ms=100, burst=5)))
    (first,) = bench.give(queued(0), queued(1), queued(2))
    (second,) = bench.give(ended(first, OK, bench.clock.ms))
    (third,) = bench.give(ended(second, OK, bench.clock.ms))
    assert offsets([first, second, third]) == [0, 1, 2]


def test_transactional_goes_before_marketing_and_older_before_newer():
    bench = Bench(site_shape(connections=1))
    first = bench.give(queued(0))
    bench.give(
        queued(1, stream="marketing", accepted_at_ms=START_MS - 9_000),
        queued(2, accepted_at_ms=START_MS - 10),
        queued(3, accepted_at_ms=START_MS - 5_000, attempt=2),
    )
    order = []
    sent = first
    for _ in range(3):
        sent = bench.after(1, ended(sent[0], OK, bench.clock.ms))
        order += offsets(sent)
    assert order == [3, 2, 1]


def test_a_rate_spaces_messages_and_asks_to_be_woken():
    bench = Bench(site_shape(connections=10, rate=Rate(period_ms=100)))
    assert offsets(bench.give(queued(0), queued(1))) == [0]
    assert min(bench.wakes) == pytest.approx(bench.clock.ms + 100)
    assert offsets(bench.after(99)) == []
    (sent,) = bench.after(1)
    assert isinstance(sent, Send)
    assert [(w.cause, w.ms) for w in sent.waits if w.ms] == [(Cause.QUEUE, 50), (Cause.RATE, 100)]


def test_the_waits_of_a_message_add_up_to_its_time():
    bench = Bench(site_shape(connections=1))
    (first,) = bench.give(queued(0))
    retry = queued(1, since_ms=START_MS - 70_000, not_before_ms=START_MS + 4_000, attempt=1)
    bench.give(retry)
    (second,) = bench.after(7_000, ended(first, OK, bench.clock.ms + 7_000))
    assert isinstance(second, Send)
    by_cause = {wait.cause: wait.ms for wait in second.waits if wait.ms}
    assert by_cause == {Cause.RETRY: 74_000, Cause.CONNECTIONS: 3_000}
    assert sum(by_cause.values()) == second.granted_ms - retry.delivery.since_ms


def test_a_deferred_message_is_planned_by_the_schedule_and_a_refused_one_bounces():
    bench = Bench()
    sent = bench.give(queued(0), queued(1))
    now = bench.clock.ms
    deferred, bounced = bench.give(ended(sent[0], LATER, now), ended(sent[1], REFUSED, now))
    assert isinstance(deferred, Verdict)
    assert (deferred.kind, deferred.not_before_ms) == (Kind.DEFERRED, now + 60_000 + 3_000)
    assert isinstance(bounced, Verdict)
    assert bounced.kind is Kind.BOUNCED


@pytest.mark.parametrize(
    ("reply", "wait_ms", "rule"),
    [
        (LATER, 63_000, "unknown.4xx"),
        (Reply(Command.RCPT, 421, "", "Max message per connection reached"), 0, "yahoo.session_full"),
        (Reply(Command.RCPT, 450, "", "User is receiving mail too quickly"), 905_000,
         "yahoo.rcpt_rate"),
        (Reply(Command.MAIL, 553, "5.7.2", "[TSS09] permanently deferred"), 63_000,
         "yahoo.ip_blocked"),
        (Reply(Command.MAIL, 550, "5.1.1", "no such user"), 63_000, "unknown.5xx"),
        (Reply(Command.RCPT, 553, "5.7.2", "[TSS09] permanently deferred"), None,
         "yahoo.ip_blocked"),
        (REFUSED, None, "general.bad_address"),
    ],
)  # fmt: skip
def test_the_rule_that_knows_the_reply_decides_whether_and_when_it_is_tried_again(
    reply, wait_ms, rule
):
    bench = Bench()
    (sent,) = bench.give(queued(0))
    attempted = ended(sent, reply, bench.clock.ms)
    at_yahoo = replace(attempted.result, mx_host="mta5.am0.yahoodns.net")
    (verdict,) = bench.give(attempted._replace(result=at_yahoo))
    assert isinstance(verdict, Verdict)
    assert (verdict.classified.rule, verdict.classified.provider) == (rule, "yahoo")
    if wait_ms is None:
        assert verdict.kind is Kind.BOUNCED
    else:
        assert verdict.kind is Kind.DEFERRED
        assert verdict.not_before_ms == bench.clock.ms + wait_ms


def test_a_short_wait_stays_in_memory_and_a_long_one_goes_to_a_delay_topic():
    bench = Bench()
    assert bench.give(queued(0, not_before_ms=START_MS + 9_000)) == []
    (postponed,) = bench.give(queued(1, not_before_ms=START_MS + 11_000))
    assert isinstance(postponed, Postpone)
    assert postponed.not_before_ms == START_MS + 11_000
    assert offsets(bench.after(9_000)) == [0]


def test_a_record_of_a_topic_that_is_read_at_once_waits_until_it_is_due():
    bench = Bench()
    topic = "email.retry.transactional.10s"
    waiting = queued(0, topic, not_before_ms=START_MS + 25_000)._replace(due_ms=START_MS + 10_000)
    assert bench.give(waiting) == []
    (postponed,) = bench.after(10_000)
    assert isinstance(postponed, Postpone)
    assert sum(w.ms for w in postponed.waits) == START_MS + 10_000 - waiting.delivery.since_ms


def test_what_waited_too_long_for_a_connection_is_parked_but_not_in_a_stall():
    bench = Bench(site_shape(connections=1))
    bench.give(queued(0), queued(1), queued(2))
    bench.stalled = True
    assert bench.after(10_000) == []
    bench.stalled = False
    parked = bench.after(1_000)
    assert offsets(parked) == [1, 2]
    assert all(isinstance(p, Postpone) and p.not_before_ms > bench.clock.ms for p in parked)


def test_an_idle_lane_is_let_go_of_after_ten_minutes():
    bench = Bench()
    (sent,) = bench.give(queued(0))
    bench.after(5, ended(sent, OK, bench.clock.ms))
    bench.after(599_000)
    assert not bench.discarded
    bench.after(3_600_000)
    assert not bench.discarded  # its connection is open
    bench.give(Freed(1))
    bench.after(2_000)
    assert bench.discarded


def test_a_message_expires_only_after_an_attempt_made_at_its_deadline():
    bench = Bench()
    (sent,) = bench.give(queued(0, give_up_at_ms=START_MS + 30_000, attempt=3))
    (deferred,) = bench.give(ended(sent, LATER, bench.clock.ms))
    assert isinstance(deferred, Verdict)
    assert (deferred.kind, deferred.not_before_ms) == (Kind.DEFERRED, START_MS + 30_000)
    (last,) = bench.after(
        30_000, queued(1, give_up_at_ms=START_MS + 30_000, not_before_ms=START_MS + 30_000)
    )
    (under_way,) = bench.give(ended(last, LATER, bench.clock.ms))  # it began 5 ms before
    assert isinstance(under_way, Verdict)
    assert (under_way.kind, under_way.not_before_ms) == (Kind.DEFERRED, bench.clock.ms)
    (expired,) = bench.after(5, ended(last, LATER, bench.clock.ms + 5))
    assert isinstance(expired, Verdict)
    assert expired.kind is Kind.EXPIRED


def test_no_message_expires_while_the_clock_is_not_trusted():
    bench = Bench(clock_trusted=False)
    (sent,) = bench.give(queued(0, give_up_at_ms=START_MS - 1))
    (deferred,) = bench.after(20, ended(sent, LATER, bench.clock.ms + 20))
    assert isinstance(deferred, Verdict)
    assert deferred.kind is Kind.DEFERRED
    assert deferred.not_before_ms >= bench.clock.ms + 60_000
    bench.clock_trusted = True
    (sent,) = bench.give(queued(1, give_up_at_ms=START_MS - 1))
    (expired,) = bench.after(20, ended(sent, LATER, bench.clock.ms + 20))
    assert isinstance(expired, Verdict)
    assert expired.kind is Kind.EXPIRED


def test_nothing_is_parked_for_the_time_in_which_the_log_was_away():
    bench = Bench(site_shape(connections=1))
    bench.give(queued(0), queued(1))
    bench.log_away_ms = 600_000
    assert bench.after(600_000) == []
    assert bench.after(9_999) == []
    assert offsets(bench.after(1)) == [1]


def test_a_retry_whose_stamp_is_of_before_the_clock_was_set_back_is_not_late():
    bench = Bench()
    topic = "email.retry.transactional.10s"
    waiting = queued(0, topic, not_before_ms=START_MS + 25_000)._replace(
        due_ms=START_MS + 3_600_000
    )
    assert bench.give(waiting) == []
    assert bench.after(10_000) == []
    assert bench.after(10_000) == []
    assert offsets(bench.after(5_000)) == [0]


def test_a_clock_that_was_set_back_makes_no_wait_negative():
    bench = Bench(site_shape(connections=1))
    bench.give(queued(0), queued(1, since_ms=START_MS + 3_600_000))
    (parked,) = bench.after(10_000)
    assert isinstance(parked, Postpone)
    assert all(wait.ms >= 0 for wait in parked.waits)


def test_a_lane_asks_to_be_woken_when_a_held_message_is_due_and_when_one_is_to_be_parked():
    bench = Bench(site_shape(connections=1))
    bench.give(queued(0, not_before_ms=START_MS + 4_000))
    assert bench.wakes == [pytest.approx(START_MS + 4_000)]
    bench.give(queued(1), queued(2))
    bench.after(4_000)
    assert bench.wakes[-1] == pytest.approx(START_MS + 10_000)
    assert offsets(bench.after(6_000)) == [2]
    assert bench.wakes[-1] == pytest.approx(START_MS + 14_000)
    assert offsets(bench.after(4_000)) == [0]


def test_parked_messages_come_back_at_the_pace_at_which_the_lane_gets_rid_of_them():
    bench = Bench(site_shape(connections=1))
    sent = bench.give(*(queued(i) for i in range(130)))
    for _ in range(2):  # two attempts in ten seconds
        sent = bench.after(1_000, ended(sent[0], OK, bench.clock.ms))
    parked = bench.after(8_000)
    minutes = [p.not_before_ms // 60_000 for p in parked if isinstance(p, Postpone)]
    assert len(minutes) == 127
    assert minutes == sorted(minutes)
    assert (
        max(Counter(minutes).values()) == 26
    )  # twice the pace: 2 in the 9 s since the first ended


def test_the_pace_of_idle_minutes_before_a_burst_does_not_count():
    bench = Bench(site_shape(connections=1))
    sent = bench.give(queued(0))
    bench.after(1_000, ended(sent[0], OK, bench.clock.ms))
    bench.after(300_000)
    sent = bench.give(*(queued(i) for i in range(1, 700)))
    parked = []
    for _ in range(100):  # ten a second: 600 a minute
        decisions = bench.after(100, ended(sent[0], OK, bench.clock.ms))
        sent = [d for d in decisions if isinstance(d, Send)]
        parked += [p for p in decisions if isinstance(p, Postpone)]
    assert len(parked) > 500
    assert max(p.not_before_ms for p in parked) <= bench.clock.ms + 2 * 60_000


def test_a_site_that_is_slow_to_answer_at_all_does_not_hold_its_mail_for_an_hour():
    bench = Bench(site_shape(connections=20))
    bench.give(*(queued(i) for i in range(120)))
    parked = [p for p in bench.after(10_000) if isinstance(p, Postpone)]
    assert len(parked) == 100
    assert max(p.not_before_ms for p in parked) <= bench.clock.ms + 2 * 60_000


def test_a_lane_with_something_in_a_session_is_never_let_go_of():
    bench = Bench()
    bench.give(queued(0))
    bench.after(3_600_000)
    assert not bench.discarded


def test_what_waits_is_known_by_stream_and_by_what_it_waits_for():
    bench = Bench(site_shape(connections=2))
    soon = START_MS + 5_000
    sent = bench.give(
        *(queued(i) for i in range(4)),
        *(queued(i, stream="marketing") for i in range(3)),
        queued(9, not_before_ms=soon, due_ms=soon),
    )
    assert len(sent) == 2
    assert waiting_in(bench.lanes) == ({"transactional": 2, "marketing": 3}, {"transactional": 1})
    bench.after(10_000)  # the others are in sessions, or moved to delay topics
    assert waiting_in(bench.lanes) == ({"transactional": 1}, {})


def test_a_lane_that_is_let_go_of_is_counted_no_more():
    bench = Bench()
    (sent,) = bench.give(queued(0))
    assert bench.lanes == {bench.lane}
    bench.after(1_000, ended(sent, OK, bench.clock.ms), Freed(1))
    bench.after(3_600_000)
    assert bench.discarded
    assert not bench.lanes
