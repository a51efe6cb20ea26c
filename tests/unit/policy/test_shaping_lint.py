"""What `sealwax check` finds in rules for shaping that can be read."""

import pytest

from sealwax.policy.shaping.builtin import builtin, shaping
from sealwax.policy.shaping.lint import findings


@pytest.mark.parametrize(
    ("text", "serious", "problem"),
    [
        (
            "[provider.x]\nname = 'X'\nmx = ['x.test']\nlimits = [{ connections = 1 }]",
            True,
            "x: no sample reaches it",
        ),
        (
            "[[site]]\nid = 'x'\nmx = ['olc.protection.outlook.com']\nlimits = []",
            True,
            "is shaping.toml: microsoft.consumer's too: state it once",
        ),
        (
            "[provider.x]\nname = 'X'\nmx = ['x.test']\nsamples = { 'a.test' = ['mx.google.com'] }",
            False,
            "its sample a.test is google's by its hosts",
        ),
        (
            """
            [[site]]
            id = "x"
            mx = ["mx.x.test"]
            limits = [{ connections = 9 }]
            samples = { "x.test" = ["mx.x.test"] }
            [provider.p]
            name = "P"
            mx = ["x.test"]
            limits = [{ at = "provider", connections = 3 }]
            """,
            False,
            "9 connections to a site, of 3 to its provider",
        ),
        (
            """
            [provider.p]
            name = "P"
            mx = ["x.test"]
            limits = [{ at = "provider", rate = "3/s" }, { rate = "200/m", per_ip = true }]
            samples = { "x.test" = ["mx.x.test"], "y.test" = ["mx.x.test"] }
            """,
            False,
            "200/m rate to a site, of 3/s to its provider",
        ),
        (
            "[[site]]\nid = 'x'\nmx = ['l.google.com', 'a.l.google.com']",
            False,
            "x: mx a.l.google.com is in another of its mx",
        ),
        (
            "[[site]]\nid = 'x'\nmx = ['l.google.com', 'l.google.com']",
            False,
            "x: mx l.google.com is in another of its mx",
        ),
        (
            """
            [[domain]]
            id = "narrow"
            domains = ["a.x.test"]
            limits = [{ rate = "1/s" }, { connections = 1 }]
            [[domain]]
            id = "wide"
            domains = ["*.x.test"]
            limits = [{ rate = "9/s" }]
            """,
            True,
            "narrow: its rate never holds: own.toml: wide comes later",
        ),
    ],
)
def test_rules_that_do_not_what_they_say_are_found(tmp_path, text, serious, problem):
    own = tmp_path / "own.toml"
    own.write_text(text)
    said = [(one.serious, f"{one.rule}: {one.problem}") for one in findings(shaping(own))]
    assert [one for one in said if problem in one[1]] == said[:1]
    assert said[0][0] == serious


def test_samples_are_compared_with_the_hosts_of_today():
    hosts = {"comcast.net": ("mx.yahoodns.net",), "gmail.com": ("mx.l.google.com",)}
    found = findings(builtin(), hosts.get)
    assert [(f.serious, f.rule) for f in found] == [(False, "shaping.toml: comcast")]
    assert "comcast.net is yahoo's by DNS now: mx.yahoodns.net" in found[0].problem


def test_a_sample_that_has_the_hosts_of_another_site_is_found():
    moved = {"outlook.com": ("outlook-com.a-v1.mx.microsoft",)}
    (found,) = findings(builtin(), moved.get)
    assert found.rule == "shaping.toml: microsoft.consumer"
    assert "outlook.com is microsoft.365's by DNS now" in found.problem


def test_limits_of_all_addresses_may_be_above_those_of_each(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [provider.p]
        name = "P"
        mx = ["x.test"]
        limits = [{ at = "provider", connections = 3, per_ip = true }, { connections = 9 }]
        samples = { "x.test" = ["mx.x.test"] }
        """
    )
    assert findings(shaping(own)) == []
