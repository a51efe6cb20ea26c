"""MX hosts that an operator blocked: by name, by what is below a name, and by network."""

from collections.abc import Mapping

import pytest

from sealwax.errors import ConfigurationError
from sealwax.model.reply import Command
from sealwax.smtp.blocked import Blocked
from tests.support.smtp_dns import dns_server
from tests.support.smtp_engine import job, running_engine
from tests.support.smtp_server import scripted

LOOPBACK = ["127.0.0.1"]


def sent(zone: Mapping[tuple[str, str], list[str]], blocked: str, port: int):
    """The result of one mail to a.test."""
    with (
        dns_server(zone) as server,
        running_engine(
            nameservers=("127.0.0.1",),
            nameserver_port=server.port,
            port=port,
            allow_private_mx=True,
            blocked=Blocked.parse(blocked),
        ) as engine,
    ):
        (result,) = engine.send(job(None, domain="a.test"))
    return result


@pytest.mark.parametrize("blocked", ["mx.host.test", "*.host.test", "MX.Host.Test.", "127.0.0.0/8"])
def test_mail_whose_hosts_are_all_blocked_bounces_with_a_status_of_its_own(blocked):
    zone = {("a.test", "MX"): ["1 mx.host.test."], ("mx.host.test", "A"): LOOPBACK}
    with scripted() as server:
        reply = sent(zone, blocked, server.port).reply
        assert server.connections == []
    assert (reply.command, reply.code, reply.status) == (Command.ROUTE, 550, "5.7.1")
    assert "SEALWAX_BLOCKED_MX" in reply.text


def test_a_domain_that_is_its_own_host_can_be_blocked():
    with scripted() as server:
        reply = sent({("a.test", "A"): LOOPBACK}, "a.test", server.port).reply
    assert reply.status == "5.7.1"


def test_a_host_that_is_not_blocked_takes_the_mail():
    zone = {
        ("a.test", "MX"): ["1 bad.test.", "2 net.test.", "3 good.test."],
        ("net.test", "A"): ["127.0.0.9"],
        ("good.test", "A"): LOOPBACK,
    }
    with scripted() as server:
        result = sent(zone, "bad.test,127.0.0.9", server.port)
    assert (result.accepted, result.mx_host) == (True, "good.test")


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_one_that_cannot_be_reached_today_is_not_given_up_for_one_that_is_blocked(order):
    zone = {
        ("a.test", "MX"): [f"{order[0]} net.test.", f"{order[1]} gone.test."],
        ("net.test", "A"): ["127.0.0.9"],
    }
    with scripted() as server:
        reply = sent(zone, "127.0.0.9", server.port).reply
    assert not reply.permanent


@pytest.mark.parametrize("text", ["192.0.2.0/33", "a b", "*", "x.*.test", "..", "mx.test/8"])
def test_what_is_no_host_and_no_network_is_refused(text):
    with pytest.raises(ConfigurationError, match="neither a host"):
        Blocked.parse(text)


def test_nothing_is_blocked_by_nothing():
    none = Blocked.parse(" , ")
    assert not none.host("a.test")
    assert not none.address("192.0.2.1")
    assert Blocked.parse("2001:db8::/32").address("2001:db8::1")
