"""Look-ups: which hosts take mail, what is for good, what may change, and what is remembered."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from sealwax.model.reply import Command, Reply
from sealwax.smtp.mx import Host, MxResolver, Target, is_public
from tests.support.smtp_dns import SERVFAIL, SILENT, dns_server
from tests.support.smtp_engine import QUICK, job, running_engine
from tests.support.smtp_server import Script, scripted


def looked_up(server, domain, *, seed=1, **changes):
    return asyncio.run(_resolver(server, seed, **changes).target(domain))


def _resolver(server, seed=1, **changes):
    settings = replace(QUICK, nameservers=("127.0.0.1",), nameserver_port=server.port, **changes)
    return MxResolver(settings, Random(seed))


def test_hosts_come_in_order_of_preference_and_equals_in_any():
    zone = {("a.test", "MX"): ["20 c.test.", "10 x.test.", "10 Y.test.", "5 b.test."]}
    with dns_server(zone) as server:
        found = [looked_up(server, "a.test", seed=seed) for seed in range(20)]
    orders = {tuple(host.name for host in target.hosts) for target in found}
    assert orders == {
        ("b.test", "x.test", "y.test", "c.test"),
        ("b.test", "y.test", "x.test", "c.test"),
    }
    assert found[0].hosts[0] == Host("b.test", 25, 5)


def test_null_mx_is_for_good():
    with dns_server({("a.test", "MX"): ["0 ."]}) as server:
        reply = looked_up(server, "a.test")
    assert (reply.command, reply.code, reply.status) == (Command.ROUTE, 556, "5.1.10")


def test_domain_that_does_not_exist_is_for_good():
    with dns_server({}) as server:
        reply = looked_up(server, "a.test")
    assert (reply.code, reply.status) == (550, "5.1.2")


@pytest.mark.parametrize("domain", ["a..test", "x" * 64 + ".test"])
def test_text_that_is_no_domain_is_for_good(domain):
    with dns_server({}) as server:
        assert looked_up(server, domain).status == "5.1.2"


@pytest.mark.parametrize("trouble", [SERVFAIL, SILENT])
def test_dns_that_fails_is_temporary_and_no_reason_to_fall_back_to_an_address(trouble):
    with dns_server({("a.test", "MX"): trouble, ("a.test", "A"): ["8.8.8.8"]}) as server:
        reply = looked_up(server, "a.test")
    assert (reply.code, reply.status) == (0, "4.4.3")
    assert ("a.test", "A") not in server.asked


def test_domain_without_mx_is_its_own_host():
    with dns_server({("a.test", "A"): ["8.8.8.8"]}) as server:
        assert looked_up(server, "a.test") == Target((Host("a.test", 25),))


def test_domain_with_neither_mx_nor_address_is_for_good():
    with dns_server({("a.test", "TXT"): ["hello"]}) as server:
        assert looked_up(server, "a.test").status == "5.1.2"


def test_domain_with_ipv6_alone_is_not_given_up_while_ipv6_is_off():
    with dns_server({("a.test", "AAAA"): ["2001:4860:4860::8888"]}) as server:
        off = looked_up(server, "a.test")
        on = looked_up(server, "a.test", ipv6=True)
    assert (off.code, off.status) == (0, "4.4.4")
    assert on == Target((Host("a.test", 25),))


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_look_up_never_leads_back_to_us(ip):
    assert not is_public(ip)


def test_host_with_forbidden_addresses_alone_is_a_loop():
    zone = {("a.test", "MX"): ["1 b.test."], ("b.test", "A"): ["127.0.0.1"]}
    with (
        dns_server(zone) as server,
        running_engine(nameservers=("127.0.0.1",), nameserver_port=server.port) as engine,
    ):
        (result,) = engine.send(job(None, domain="a.test"))
    assert (result.reply.command, result.reply.status) == (Command.ROUTE, "4.4.6")
    assert result.mx_host == "b.test"


def test_answers_and_failures_are_remembered_and_asked_for_once():
    async def many(resolver, domain):
        first = await asyncio.gather(*(resolver.target(domain) for _ in range(5)))
        return [*first, await resolver.target(domain)]

    with dns_server(
        {("a.test", "MX"): ["1 b.test."], ("c.test", "MX"): SERVFAIL}, ttl_s=0
    ) as server:
        for domain in ("a.test", "b.test", "none.test"):
            found = asyncio.run(many(_resolver(server), domain))
            assert len(set(map(id, found))) == 1
            assert server.asked[domain, "MX"] == 1


def test_message_goes_to_the_best_host_that_talks_to_us():
    zone = {
        ("a.test", "MX"): ["1 gone.test.", "2 dead.test.", "3 good.test."],
        ("dead.test", "A"): ["127.0.0.9"],
        ("good.test", "A"): ["127.0.0.1"],
    }
    with (
        dns_server(zone) as names,
        scripted() as server,
        running_engine(
            nameservers=("127.0.0.1",),
            nameserver_port=names.port,
            allow_private_mx=True,
            port=server.port,
        ) as engine,
    ):
        first, second = engine.send(job(None, domain="a.test"), job(None, domain="a.test"))
    assert first.accepted
    assert (first.mx_host, first.mx_ip) == ("good.test", "127.0.0.1")
    assert second.reused


def test_next_host_is_tried_after_a_bad_greeting_but_not_after_a_reply_to_mail():
    zone = {
        ("a.test", "MX"): ["1 one.test.", "2 two.test."],
        ("one.test", "A"): ["127.0.0.1"],
        ("two.test", "A"): ["127.0.0.1"],
    }

    def script(number):
        return [Script(banner="421 4.3.2 busy"), Script(mail="451 4.7.1 later")][min(number, 1)]

    with (
        dns_server(zone) as names,
        scripted(script) as server,
        running_engine(
            nameservers=("127.0.0.1",),
            nameserver_port=names.port,
            allow_private_mx=True,
            port=server.port,
        ) as engine,
    ):
        (result,) = engine.send(job(None, domain="a.test"))
    assert (result.mx_host, result.reply.command) == ("two.test", Command.MAIL)
    assert len(server.connections) == 2


def test_mx_hosts_without_any_address_are_temporary():
    with (
        dns_server({("a.test", "MX"): ["1 gone.test."]}) as names,
        running_engine(nameservers=("127.0.0.1",), nameserver_port=names.port) as engine,
    ):
        (result,) = engine.send(job(None, domain="a.test"))
    assert isinstance(result.reply, Reply)
    assert (result.reply.code, result.reply.status) == (0, "4.4.4")
