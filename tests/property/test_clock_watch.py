"""Steps of the wall clock: each one that matters is seen, and nothing else is taken for one."""

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.clock_watch import (
    AGREEMENT_MS,
    STAMP_TOLERANCE_MS,
    STEP_BACK_MS,
    STEP_FORWARD_MS,
    ClockWatch,
    Sign,
    first_look,
    look,
)

WALL_MS = 1_795_000_000_000
gaps = st.floats(1, 3_600_000)  # a process may be stopped for an hour between two looks
DAY_MS = 86_400_000


def after(watch: ClockWatch, gap_ms: float, step_ms: float = 0) -> tuple[Sign, ClockWatch]:
    wall_ms = round(watch.wall_ms + gap_ms + step_ms)
    return look(watch, wall_ms=wall_ms, monotonic_ms=watch.monotonic_ms + gap_ms)


@given(gaps=st.lists(gaps, max_size=50), slew=st.floats(-0.0005, 0.0005))
def test_a_clock_that_is_slewed_or_a_process_that_is_stopped_is_no_step(gaps, slew):
    watch = first_look(WALL_MS, 0)
    for gap in gaps:
        # A time daemon slews while the process runs, so over the looks that it takes.
        sign, watch = after(watch, gap, slew * min(gap, 250))
        assert sign is Sign.STEADY


@given(gap=gaps, step=st.integers(STEP_BACK_MS + 2, 400 * DAY_MS))
def test_every_step_back_of_over_a_second_is_seen_however_long_the_gap(gap, step):
    assert after(first_look(WALL_MS, 5.0), gap, -step)[0] is Sign.WENT_BACK


@given(gap=gaps, step=st.integers(STEP_FORWARD_MS + 2, 400 * DAY_MS))
def test_every_step_forward_of_over_a_minute_is_seen_however_long_the_gap(gap, step):
    assert after(first_look(WALL_MS, 5.0), gap, step)[0] is Sign.WENT_FORWARD


@given(gap=gaps, step=st.integers(-STEP_BACK_MS + 2, STEP_FORWARD_MS - 2))
def test_a_smaller_step_changes_nothing(gap, step):
    assert after(first_look(WALL_MS, 5.0), gap, step)[0] is Sign.STEADY


@given(
    looks=st.lists(
        st.tuples(
            st.floats(250, 60_000),
            st.sampled_from([0, 0, 0, 2 * DAY_MS]),
            st.none() | st.integers(-2 * STAMP_TOLERANCE_MS, 2 * STAMP_TOLERANCE_MS),
        ),
        max_size=60,
    )
)
def test_a_clock_is_trusted_only_after_ten_minutes_in_which_nothing_spoke_against_it(looks):
    watch, against_at = first_look(WALL_MS, 0), 0.0
    for gap, step, off in looks:
        wall_ms = round(watch.wall_ms + gap + step)
        monotonic_ms = watch.monotonic_ms + gap
        stamp_ms = None if off is None else wall_ms + off
        _, watch = look(watch, wall_ms=wall_ms, monotonic_ms=monotonic_ms, stamp_ms=stamp_ms)
        if step or (off is not None and abs(off) > STAMP_TOLERANCE_MS):
            against_at = monotonic_ms
        assert watch.agreed_for_long == (monotonic_ms - against_at >= AGREEMENT_MS)
