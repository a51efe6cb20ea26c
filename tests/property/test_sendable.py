"""What autoscaling is told, over all backlogs."""

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.sendable import Backlog, sendable

counts = st.integers(0, 10**7)
# Counted one after the other while mail goes on, so that they need not fit together.
backlogs = st.builds(Backlog, counts, counts, counts, counts)


@given(backlog=backlogs)
def test_it_is_never_below_nothing_nor_above_all_there_is(backlog):
    assert 0 <= sendable(backlog) <= backlog.unread + backlog.read


@given(unread=counts, limited=st.integers(1, 10**7), later=counts)
def test_a_backlog_whose_lanes_are_all_at_their_limits_is_no_work_for_more(unread, limited, later):
    assert sendable(Backlog(unread, limited + later, limited, later)) == 0


@given(unread=counts, moving=counts, later=counts)
def test_without_limits_all_counts_but_what_waits_for_its_time(unread, moving, later):
    assert sendable(Backlog(unread, moving + later, 0, later)) == unread + moving


@given(backlog=backlogs, more=counts)
def test_more_that_waits_for_a_limit_is_never_more_to_send(backlog, more):
    held = backlog._replace(read=backlog.read + more, limited=backlog.limited + more)
    assert sendable(held) <= sendable(backlog)


@given(backlog=backlogs, more=counts)
def test_more_unread_is_never_less_to_send(backlog, more):
    assert sendable(backlog._replace(unread=backlog.unread + more)) >= sendable(backlog)
