"""Messages get the site of their domain's hosts, or wait beside the look-up for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

import pytest

from connectors.smtp.items import Queued
from connectors.smtp.sites import Sites
from sealwax.model.delivery import Position
from sealwax.smtp.mx import MxResolver
from sealwax.smtp.resolver import Resolver
from sealwax.smtp.route import Routes
from tests.support.deliveries import delivery
from tests.support.smtp_dns import SERVFAIL, SILENT, DnsServer, Zone, dns_server
from tests.support.smtp_engine import QUICK
from tests.support.waiting import wait_until

SHARED = ["10 mx1.host.test.", "20 mx2.host.test."]


class Found:
    """The sites, and the messages that came later."""

    def __init__(self, resolver: Resolver, routes: str = "") -> None:
        self.late: list[Queued] = []
        self.sites = Sites(Routes.parse(routes), resolver, self.late.extend)
        self._offset = 0

    def put(self, domain: str) -> Queued | None:
        self._offset += 1
        source = Position("email.ready.transactional", 0, self._offset)
        return self.sites.place(Queued("", delivery(rcpt_domain=domain), source))

    def wait_for(self, count: int) -> list[Queued]:
        wait_until(lambda: len(self.late) >= count, 10, f"{count} messages")
        return self.late


@contextmanager
def resolving(zone: Zone) -> Iterator[tuple[Resolver, DnsServer]]:
    with dns_server(zone) as server:
        settings = replace(QUICK, nameservers=("127.0.0.1",), nameserver_port=server.port)
        resolver = Resolver(settings, Random(1))
        try:
            yield resolver, server
        finally:
            resolver.close()


def test_domains_with_the_same_hosts_are_one_site_and_others_are_not():
    zone = {
        ("a.test", "MX"): SHARED,
        ("b.test", "MX"): list(reversed(SHARED)),
        ("c.test", "MX"): SHARED[:1],
    }
    with resolving(zone) as (resolver, _):
        found = Found(resolver)
        assert [found.put(domain) for domain in ("a.test", "b.test", "c.test")] == [None] * 3
        by_domain = {one.delivery.rcpt_domain: one.site for one in found.wait_for(3)}
        assert by_domain["a.test"] == by_domain["b.test"]
        assert by_domain["c.test"] == "mx1.host.test"
        again = found.put("a.test")
    assert again is not None
    assert (again.site, again.asked_ms) == (by_domain["a.test"], 0)


def test_messages_wait_in_order_beside_one_look_up_and_say_since_when():
    with resolving({("a.test", "MX"): SHARED}) as (resolver, server):
        found = Found(resolver)
        for _ in range(50):
            found.put("a.test")
        late = found.wait_for(50)
        assert server.asked["a.test", "MX"] == 1
    assert [one.source.offset for one in late] == list(range(1, 51))
    assert all(one.asked_ms for one in late)


@pytest.mark.parametrize("records", [SERVFAIL, SILENT, ["0 ."]])
def test_a_domain_without_hosts_is_a_site_by_itself(records):
    with resolving({("a.test", "MX"): records}) as (resolver, _):
        found = Found(resolver)
        found.put("a.test")
        assert [one.site for one in found.wait_for(1)] == ["a.test"]


def test_a_domain_with_a_route_stays_a_site_of_its_own_and_is_never_asked_for():
    with resolving({}) as (resolver, server):
        found = Found(resolver, "a.test=127.0.0.1:25")
        placed = found.put("a.test")
        assert not server.asked
    assert placed is not None
    assert placed.site == "a.test"


def test_a_name_server_that_is_silent_holds_up_no_other_domain():
    zone: Zone = {("slow.test", "MX"): SILENT, ("a.test", "MX"): SHARED}
    with resolving(zone) as (resolver, _):
        found = Found(resolver)
        found.put("slow.test")
        found.put("a.test")
        assert found.wait_for(1)[0].delivery.rcpt_domain == "a.test"


def test_messages_that_wait_when_the_resolver_ends_are_left_to_the_next_process():
    before = threading.active_count()
    with resolving({("a.test", "MX"): SILENT}) as (resolver, _):
        found = Found(resolver)
        found.put("a.test")
    assert found.late == []
    assert threading.active_count() == before


def test_a_look_up_that_fails_by_a_defect_keeps_no_message(monkeypatch):
    async def broken(*_: object) -> None:
        raise ValueError("a defect")

    with resolving({("a.test", "MX"): SHARED}) as (resolver, _):
        monkeypatch.setattr(MxResolver, "target", broken)
        found = Found(resolver)
        found.put("a.test")
        assert [one.site for one in found.wait_for(1)] == ["a.test"]
