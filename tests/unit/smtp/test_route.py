"""Routes: which pattern wins, which site a domain is, and what is refused."""

import pytest

from sealwax.errors import ConfigurationError
from sealwax.smtp.route import Route, Routes


def test_first_match_wins():
    routes = Routes.parse("a.test=127.0.0.1:1, *.test=127.0.0.1:2, *=smart.host:25")
    assert routes.route("a.test") == Route("127.0.0.1", 1)
    assert routes.route("b.a.test") == Route("127.0.0.1", 2)
    assert routes.route("example.org") == Route("smart.host", 25)


def test_domain_without_a_route_goes_to_its_mx_hosts():
    assert Routes.parse("").route("a.test") is None
    assert Routes.parse("*.sink.test=127.0.0.1:2525").route("sink.test") is None


def test_two_domains_routed_to_one_host_are_two_sites_and_a_smart_host_is_one():
    routes = Routes.parse("a.test=h:25,*.b.test=h:25,*=smart.host:587")
    assert [routes.site(d) for d in ("a.test", "x.b.test")] == ["a.test", "x.b.test"]
    assert {routes.site(d) for d in ("c.test", "d.test")} == {"*=smart.host:587"}
    assert Routes().site("c.test") == "c.test"


def test_ipv6_host_stands_in_brackets():
    routes = Routes.parse("A.Test=[2001:db8::1]:25")
    assert routes.route("a.test") == Route("2001:db8::1", 25)
    assert str(routes.route("a.test")) == "[2001:db8::1]:25"


@pytest.mark.parametrize(
    "part",
    [
        "a.test",
        "a.test=",
        "=h:25",
        "a.test=h",
        "a.test=h:",
        "a.test=:25",
        "a.test=h:0",
        "a.test=h:65536",
        "a.test=h:x",
        "a.test=::1:25",
        "a.*.test=h:25",
        "**=h:25",
    ],
)
def test_unreadable_route_is_named(part):
    with pytest.raises(ConfigurationError) as caught:
        Routes.parse(f"ok.test=h:25,{part}")
    assert repr(part) in str(caught.value)
