"""Names of sites: the same hosts are the same site, others are another."""

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.site import site_of

LABELS = st.text("abc", min_size=1, max_size=3)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


def test_one_host_is_a_site_by_its_own_name():
    assert site_of(["MX.Example.com"]) == "mx.example.com"


def test_several_are_named_by_what_their_names_end_in():
    google = ["aspmx.l.google.com", "alt1.aspmx.l.google.com", "alt2.aspmx.l.google.com"]
    assert site_of(google).startswith("aspmx.l.google.com~")
    assert site_of(["mx.a.test", "mx.b.com"]).startswith("mx.a.test~")


def test_sets_that_end_alike_are_told_apart():
    assert site_of(["a.x.test", "b.x.test"]) != site_of(["a.x.test", "c.x.test"])


@given(hosts=st.lists(NAMES, min_size=1, max_size=5), order=st.randoms())
def test_order_case_and_repeats_make_no_difference(hosts, order):
    other = [*(host.upper() for host in hosts), hosts[0]]
    order.shuffle(other)
    assert site_of(other) == site_of(hosts)


@given(st.sets(NAMES, min_size=1, max_size=5), st.sets(NAMES, min_size=1, max_size=5))
def test_different_sets_are_different_sites(one, other):
    assert (site_of(one) == site_of(other)) == (one == other)
