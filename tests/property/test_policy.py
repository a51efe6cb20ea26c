"""Promises of the pure decisions, over all inputs."""

from hypothesis import given
from hypothesis import strategies as st

from sealwax.model.reply import BEFORE_RCPT, Command, Reply
from sealwax.model.topics import RETRY_DELAYS_MS
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.fates import FAIL, RETRY, MessageFate
from sealwax.policy.delay import IN_MEMORY_MS, delay_for, jittered
from sealwax.policy.parking import next_slot, per_minute, slot_start_ms
from sealwax.policy.retry import Bounce, Expire, Retry, RetrySettings, Tried, fate_of
from sealwax.policy.throttle import Rate, admit

rates = st.builds(Rate, st.floats(0.5, 10_000), st.integers(1, 50))
draws = st.floats(0, 1, exclude_max=True)
fates = st.one_of(
    st.just(FAIL),
    st.just(RETRY),
    st.builds(MessageFate, st.just(False), st.integers(1, 10**8), same_ip=st.booleans()),
    st.builds(MessageFate, st.just(False), at_once=st.just(True)),
)


@given(rate=rates, gaps=st.lists(st.floats(0, 5_000), max_size=60))
def test_no_span_of_time_admits_more_than_the_rate_and_its_burst(rate, gaps):
    horizon_ms, now_ms, ready = float("-inf"), 0.0, []
    for gap in gaps:
        now_ms += gap
        slot = admit(rate, horizon_ms=horizon_ms, now_ms=now_ms)
        horizon_ms = slot.horizon_ms
        ready.append(slot.ready_at_ms)
    for i, first in enumerate(ready):
        for n, last in enumerate(ready[i:], start=1):
            assert n <= (last - first) / rate.period_ms + rate.burst + 1e-6


@given(wait_ms=st.integers(0, 10**8), draw=draws)
def test_jitter_is_upward_and_what_is_left_after_the_delay_topic_fits_in_memory(wait_ms, draw):
    wait = jittered(wait_ms, draw)
    assert wait_ms <= wait <= wait_ms + min(wait_ms * 0.1, IN_MEMORY_MS)
    for delay_ms in RETRY_DELAYS_MS.values():
        assert jittered(delay_ms, draw) - delay_ms <= IN_MEMORY_MS


@given(wait_ms=st.floats(0, 10**8))
def test_the_delay_topic_never_delays_longer_than_asked_where_a_shorter_one_is_there(wait_ms):
    chosen = RETRY_DELAYS_MS[delay_for(wait_ms)]
    shorter = [delay for delay in RETRY_DELAYS_MS.values() if delay <= wait_ms]
    assert chosen == max(shorter, default=min(RETRY_DELAYS_MS.values()))


@given(
    message=fates,
    attempts=st.integers(1, 100),
    give_up_at_ms=st.integers(0, 10**9),
    began_at_ms=st.integers(0, 10**9),
    took_ms=st.integers(0, 10**6),
    draw=draws,
    clock_trusted=st.booleans(),
)
def test_every_failed_attempt_has_a_fate_that_follows_from_its_reply(
    message, attempts, give_up_at_ms, began_at_ms, took_ms, draw, clock_trusted
):
    settings = RetrySettings()
    now_ms = began_at_ms + took_ms
    fate = fate_of(
        settings,
        message,
        Tried(attempts, began_at_ms, now_ms),
        give_up_at_ms=give_up_at_ms,
        draw=draw,
        clock_trusted=clock_trusted,
    )
    match fate:
        case Bounce():
            assert message.fails
        case Expire():
            assert clock_trusted
            assert began_at_ms >= give_up_at_ms
        case Retry(not_before_ms):
            assert not message.fails
            least_ms = settings.delays_ms[min(attempts, len(settings.delays_ms)) - 1]
            least_ms = max(least_ms, message.after_ms)
            if message.at_once and attempts <= 3:
                least_ms = 0
            late = now_ms >= give_up_at_ms
            if late and clock_trusted:
                assert not_before_ms == now_ms  # the one attempt that it must still have
            elif late:
                assert not_before_ms >= now_ms + least_ms
            else:
                assert now_ms <= not_before_ms <= give_up_at_ms
                assert not_before_ms == give_up_at_ms or not_before_ms >= now_ms + least_ms


@given(attempts=st.integers(1, 100), after_ms=st.integers(0, 10**8), draw=draws)
def test_a_rule_never_has_a_message_tried_more_often_than_the_schedule(attempts, after_ms, draw):
    tried = Tried(attempts, 0, 0)
    plain, stated = (
        fate_of(RetrySettings(), fate, tried, give_up_at_ms=10**9, draw=draw)
        for fate in (RETRY, MessageFate(fails=False, after_ms=after_ms))
    )
    assert isinstance(plain, Retry)
    assert isinstance(stated, Retry)
    assert stated.not_before_ms >= plain.not_before_ms


@given(command=st.sampled_from(Command), code=st.integers(500, 599), draw=draws)
def test_a_5xx_ends_a_message_at_rcpt_or_later_and_never_before(command, code, draw):
    fate = fate_of(
        RetrySettings(),
        builtin().classify(Reply(command, code, "", ""), "").message,
        Tried(1, 0, 0),
        give_up_at_ms=1,
        draw=draw,
    )
    assert isinstance(fate, Retry if command in BEFORE_RCPT else Bounce)


@given(command=st.sampled_from(Command), attempts=st.integers(1, 9), draw=draws)
def test_a_session_that_broke_never_bounces_a_message(command, attempts, draw):
    lost = builtin().classify(Reply(command, 0, "", "connection lost"), "").message
    for now_ms, expected in ((0, Retry), (10, Expire)):
        fate = fate_of(
            RetrySettings(),
            lost,
            Tried(attempts, now_ms, now_ms),
            give_up_at_ms=10,
            draw=draw,
        )
        assert isinstance(fate, expected)


@given(
    planned=st.dictionaries(st.integers(0, 80), st.integers(0, 30)),
    room=st.integers(-3, 20),
    now_ms=st.integers(0, 10 * 60_000),
    draw=draws,
)
def test_a_parked_message_comes_back_in_a_later_minute_with_room(planned, room, now_ms, draw):
    minute = next_slot(planned, per_minute=room, now_ms=now_ms)
    assert now_ms < slot_start_ms(minute, draw) <= now_ms + 62 * 60_000
    furthest = now_ms // 60_000 + 61
    assert planned.get(minute, 0) < max(1, room) or minute == furthest


@given(ended=st.lists(st.floats(0, 10**6), max_size=50), busy_since=st.floats(0, 10**6))
def test_the_pace_of_a_lane_is_that_of_the_time_in_which_it_was_busy(ended, busy_since):
    ended.sort()
    now = 10.0**6
    pace = per_minute(ended, busy_since_ms=busy_since, now_ms=now)
    while_busy = [at for at in ended if at >= busy_since]
    if not while_busy:
        assert pace is None
    else:
        assert pace is not None
        assert pace >= 1
        minutes = max(1_000.0, now - max(busy_since, ended[0])) / 60_000
        assert pace <= max(1, len(while_busy) / minutes + 0.01)
