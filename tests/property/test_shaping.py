"""Merging of rules for shaping."""

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.shaping.builtin import builtin
from sealwax.policy.shaping.rule import Figure, Rule, Step
from sealwax.policy.shaping.rules import ShapingRules
from sealwax.policy.shaping.shape import Scope, What
from sealwax.policy.throttle import Rate, admit, admitted_at_once, rate_from

figures = st.builds(
    Figure,
    st.just(Scope.SITE),
    st.sampled_from([What.CONNECTIONS, What.MESSAGES_PER_CONNECTION]),
    st.booleans(),
    st.none() | st.integers(1, 99),
    st.just("test"),
)
samples = [hosts for rule in builtin().rules for hosts in rule.samples.values()]


@given(st.sampled_from(samples), st.randoms())
def test_the_order_and_the_case_of_hosts_do_not_matter(hosts, random):
    shuffled = [host.upper() if random.random() < 0.5 else host for host in hosts]
    random.shuffle(shuffled)
    assert builtin().of_site(tuple(shuffled)) == builtin().of_site(hosts)


@given(st.lists(figures, max_size=12))
def test_of_several_figures_the_last_one_holds_and_none_takes_it_away(stated):
    rules = ShapingRules([Rule("default", 1, Step.DEFAULT, figures=tuple(stated))])
    last = {(one.scope, one.what, one.per_ip): one.value for one in stated}
    found = {(one.scope, one.what, one.per_ip): one.value for one in rules.of_site(()).bounds}
    assert found == {key: value for key, value in last.items() if value is not None}


@given(st.lists(figures, max_size=6), figures)
def test_what_is_taken_away_and_stated_again_holds(stated, figure):
    gone, again = figure._replace(value=None), figure._replace(value=5)
    rules = ShapingRules([Rule("default", 1, Step.DEFAULT, figures=(*stated, gone, again))])
    found = {(one.scope, one.what, one.per_ip): one.value for one in rules.of_site(()).bounds}
    assert found[figure[:3]] == 5


@given(
    period_ms=st.sampled_from([0.5, 3.0, 20.0, 1_000.0]),
    burst=st.integers(1, 50),
    behind_ms=st.floats(-100_000, 100_000),
)
def test_what_may_go_at_once_is_what_is_admitted_at_once(period_ms, burst, behind_ms):
    rate, now_ms = Rate(period_ms, burst), 1e6
    horizon_ms = first_ms = now_ms + behind_ms
    count = 0
    while (slot := admit(rate, horizon_ms=horizon_ms, now_ms=now_ms)).ready_at_ms <= now_ms:
        horizon_ms = slot.horizon_ms
        count += 1
    told = admitted_at_once(rate, horizon_ms=first_ms, now_ms=now_ms)
    assert abs(told - count) <= 1  # where a slot begins just now, by the last bit
    assert told <= burst


@given(st.integers(1, 999_999), st.sampled_from("smh"))
def test_a_rate_is_said_in_a_way_that_can_be_written(often, unit):
    rate = rate_from(f"{often}/{unit}")
    assert rate_from(str(rate)) == rate
