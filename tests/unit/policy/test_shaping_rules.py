"""Rules for shaping: how they are written, merged, and found."""

import tomllib

import pytest

from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.builtin import builtin, errors, shaping
from sealwax.policy.shaping.lint import findings
from sealwax.policy.shaping.rule import Figure, Step
from sealwax.policy.shaping.rule_file import rules_from
from sealwax.policy.shaping.rules import ShapingRules
from sealwax.policy.shaping.shape import Bound, Scope, What
from sealwax.policy.throttle import Rate

SMALL = """
[default]
limits = [{ connections = 10 }, { rate = "100/s" }]
[routed]
limits = [{ connections = 20 }]
[provider.google]
name = "Google"
mx = ["google.com"]
limits = [{ at = "provider", connections = 5, per_ip = true }, { connections = 7 }]
samples = { "gmail.com" = ["mx.l.google.com"] }
[provider.other]
name = "Other"
mx = ["other.test"]
[[site]]
id = "gmail"
mx = ["l.google.com"]
limits = [{ connections = 3 }]
[[domain]]
id = "slow"
domains = ["slow.test", "*.slow.test"]
limits = [{ rate = "6/m" }, { at = "site", connections = 2 }]
"""


def read(text: str, *, sourced: bool = False, file: str = "own.toml"):
    return rules_from(tomllib.loads(text), file, sourced=sourced)


def named(rules: ShapingRules, *hosts: str) -> dict[str, str]:
    return dict(rules.of_site(hosts).named())


def test_the_steps_are_merged_in_order_and_the_last_figure_holds():
    rules = ShapingRules(read(SMALL))
    assert named(rules, "mx.test") == {
        "connections": "10 (default v1)",
        "rate": "100/s (default v1)",
    }
    of_google = {"rate": "100/s (default v1)", "provider.connections@ip": "5 (google v1)"}
    assert named(rules, "aspmx.google.com") == of_google | {"connections": "7 (google v1)"}
    assert named(rules, "alt.l.google.com") == of_google | {"connections": "3 (gmail v1)"}


def test_settings_stand_above_the_default_and_below_all_rules():
    every = [Figure(Scope.SITE, What.CONNECTIONS, False, 4, "settings")]
    rules = ShapingRules(read(SMALL), every)
    assert named(rules, "mx.test")["connections"] == "4"
    assert named(rules, "aspmx.google.com")["connections"] == "7 (google v1)"
    assert dict(rules.of_routed("x.test").named())["connections"] == "4"


@pytest.mark.parametrize(
    "hosts",
    [
        ("mx.google.com", "mx.other.test"),
        ("mx.google.com", "mx.test"),
        ("mx.notgoogle.com",),
        ("google.com.test",),
    ],
)
def test_a_domain_is_a_providers_only_where_all_its_hosts_are(hosts):
    rules = ShapingRules(read(SMALL))
    assert rules.of_site(hosts).provider == ""
    assert named(rules, *hosts)["connections"] == "10 (default v1)"


def test_hosts_of_one_provider_and_of_different_sites_are_the_providers():
    rules = ShapingRules(read(SMALL))
    assert rules.of_site(("mx.google.com", "mx.l.google.com")).provider == "google"
    assert named(rules, "mx.google.com", "mx.l.google.com")["connections"] == "7 (google v1)"


def test_a_routed_domain_has_limits_of_its_own_unless_a_rule_names_it():
    rules = ShapingRules(read(SMALL))
    assert rules.of_routed("x.test").named() == (("connections", "20 (routed v1)"),)
    assert rules.of_routed("slow.test").named() == (("connections", "2 (slow v1)"),)
    assert builtin().of_routed("x.test").named() == (("connections", "20 (routed v1)"),)


@pytest.mark.parametrize("domain", ["slow.test", "a.slow.test"])
def test_a_rule_that_names_a_domain_limits_it_in_whatever_site_it_is(domain):
    rules = ShapingRules(read(SMALL))
    (bound,) = rules.of_domain(domain)
    assert bound == Bound(Scope.DOMAIN, What.RATE, Rate(10_000), rule="slow v1")
    assert rules.of_domain("fast.test") == rules.of_domain("notslow.test") == ()


def test_an_operators_file_stands_behind_ours_and_can_take_limits_away(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [default]
        limits = [{ rate = "none" }]
        [provider.google]
        limits = [{ at = "provider", connections = 50, per_ip = true }]
        [provider.mine]
        name = "Mine"
        mx = ["mine.test"]
        limits = [{ at = "provider", rate = "5/m" }]
        samples = { "mine.test" = ["mx.mine.test"] }
        """
    )
    rules = shaping(own)
    of_gmail = named(rules, *rules.sample("gmail.com"))
    assert "rate" not in of_gmail
    assert of_gmail["provider.connections@ip"] == "50 (google v1)"
    assert of_gmail["messages_per_connection"] == "50 (google v1)"
    assert rules.of_site(("mx.mine.test",)).provider == "mine"
    assert rules.providers.names["google"] == "Google: Gmail and Workspace"
    assert findings(rules) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[defaults]", "own.toml: defaults is not known"),
        ("provider = 1", "own.toml: provider must be written as [provider.NAME]"),
        ("site = 1", "own.toml: site must be written as [[site]]"),
        ("[[site]]\nmx = ['a.test']", "site 1: id must be a name"),
        ("[[site]]\nid = 'a'", "a: mx must be a list of suffixes"),
        ("[[site]]\nid = 'a'\nmx = ['.a.test']", "a: mx '.a.test' must be a domain"),
        ("[[site]]\nid = 'a'\nmx = ['a.test.']", "a: mx 'a.test.' must be a domain"),
        ("[[site]]\nid = 'a'\nmx = ['A.test']", "a: mx 'A.test' must be a domain"),
        ("[[site]]\nid = 'a'\nmx = ['test']", "a: mx 'test' must be a domain"),
        ("[[site]]\nid = 'a'\nmx = ['*.a.test']", "a: mx '*.a.test' must be a domain"),
        ("[[domain]]\nid = 'a'\ndomains = []", "a: domains must be a list of domains"),
        ("[provider.a]\nmx = ['a.test']", "a: name must be what people call it"),
        ("[default]\nversion = 0", "default: version must be a number from 1 on"),
        ("[default]\nlimit = []", "default: limit is not known here"),
        ("[default]\nlimits = 1", "default: limits must be a list"),
        ("[default]\nlimits = [1]", "default: limits 1 must be a table"),
        ("[default]\nlimits = [{}]", "must have exactly one figure"),
        ("[default]\nlimits = [{ connections = 1, rate = '1/s' }]", "must have exactly one figure"),
        ("[default]\nlimits = [{ connections = 1, ip = 1 }]", "must have exactly one figure"),
        ("[default]\nlimits = [{ connections = 0 }]", "connections must be a number from 1 on"),
        ("[default]\nlimits = [{ connections = true }]", "connections must be a number from 1"),
        ("[default]\nlimits = [{ rate = '0/s' }]", "rate must be written as 100/s"),
        ("[default]\nlimits = [{ rate = 5 }]", "rate must be written as 100/s"),
        (
            "[default]\nlimits = [{ at = 'provider', rate = '1/s' }]",
            "at must be domain or site here",
        ),
        ("[default]\nlimits = [{ per_ip = 1, rate = '1/s' }]", "per_ip must be true or false"),
        (
            "[[domain]]\nid = 'a'\ndomains = ['a.test']\nlimits = [{ connection_rate = '1/s' }]",
            "a domain shares its connections with its site",
        ),
        ("[provider.a]\nname = 'A'\nmx = ['a.test']\nsamples = 1", "samples must be a table"),
        (
            "[provider.a]\nname = 'A'\nmx = ['a.test']\nsamples = { 'a.test' = [] }",
            "samples a.test must have a list of MX hosts",
        ),
        (
            "[[site]]\nid = 'a'\nmx = ['a.test']\n[[site]]\nid = 'a'\nmx = ['b.test']",
            "a: stands for two rules",
        ),
        ("site = [1]", "own.toml: site 1: must be a table"),
        ("sources = 1", "own.toml: sources must be a table"),
        ("[sources]\na = 1", "own.toml: sources must be a table"),
        ("[default]\nlimits = [{ connections = 1, source = [] }]", "source must be text"),
        ("[default]\nlimits = [{ connections = 1, at = [] }]", "at must be domain or site here"),
        ("[routed]\nlimits = [{ connections = 1, at = 'domain' }]", "at must be site here"),
        ("[provider.'a b']\nname = 'A'\nmx = ['a.test']", "a b: id must be a name of its own"),
        ("[provider.default]\nname = 'A'\nmx = ['a.test']", "id must be another one"),
        ("[provider.google]\nname = 1", "google: name must be what people call it"),
        (
            "[provider.a]\nname = 'A'\nmx = ['a.test']\nsamples = { 'a.test' = ['mx.a.test.'] }",
            "samples a.test must have a list of MX hosts",
        ),
        (
            "[provider.a]\nname = 'A'\nmx = ['a.test']\nsamples = { 'a' = ['mx.a.test'] }",
            "samples 'a' must be a domain",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, problem):
    with pytest.raises(RuleError) as refused:
        read(text)
    assert problem in str(refused.value)


def test_a_figure_that_comes_with_sealwax_says_where_it_is_from():
    with pytest.raises(RuleError, match="must say its source"):
        read("[default]\nlimits = [{ connections = 1 }]", sourced=True)
    with pytest.raises(RuleError, match=r"source 'kumo' does not stand in \[sources\]"):
        read("[default]\nlimits = [{ connections = 1, source = 'kumo' }]", sourced=True)
    assert all(figure.source for rule in builtin().rules for figure in rule.figures)


def test_all_rules_that_cannot_be_used_are_told_at_once(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [defaults]
        [routed]
        limits = [{ connections = 0 }]
        [provider.fine]
        name = "Fine"
        mx = ["fine.test"]
        [[site]]
        id = "a"
        """
    )
    assert [str(error).split(" must")[0].split(" is not")[0] for error in errors(own)] == [
        "own.toml: defaults",
        "own.toml: routed: connections",
        "own.toml: a: mx",
    ]
    own.write_text("[provider.x]\nname = 'X'\nmx = ['google.com']")
    assert [error.problem for error in errors(own)] == ["google.com is google's already"]
    assert errors(None) == []


def test_a_file_that_is_called_as_ours_is_named_in_full(tmp_path):
    own = tmp_path / "shaping.toml"
    own.write_text("[defaults]")
    assert str(errors(own)[0]).startswith(f"{own}: defaults")


def test_the_default_may_limit_each_domain_and_a_rule_may_take_that_away():
    text = "[default]\nlimits = [{ connections = 9 }, { at = 'domain', rate = '2/s' }]"
    rules = ShapingRules(
        read(
            f"""{text}
            [[domain]]
            id = "fast"
            domains = ["fast.test"]
            limits = [{{ rate = "none" }}]
            """
        )
    )
    assert [one.rule for one in rules.of_domain("any.test")] == ["default v1"]
    assert rules.of_domain("fast.test") == ()
    assert named(rules, "mx.test") == {"connections": "9 (default v1)"}
    assert rules.of_routed("any.test").bounds == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[provider.x]\nlimits = [{ connections = 1 }]", "x: mx is missing"),
        ("[provider.x]\nname = 'X'\nmx = ['google.com']", "google.com is google's already"),
        (
            "[[domain]]\nid = 'google'\ndomains = ['a.test']",
            "google: is a provider in shaping.toml: a domain needs another id",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(tmp_path, text, problem):
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(RuleError, match=problem):
        shaping(own)


@pytest.mark.parametrize("content", [b"[", b"\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    own = tmp_path / "own.toml"
    own.write_bytes(content)
    with pytest.raises(RuleError, match=r"own\.toml"):
        shaping(own)
    with pytest.raises(RuleError, match="cannot be read"):
        shaping(tmp_path / "none.toml")


# What our own rules come to, for the domains that they have as samples.
SHAPES = {
    "gmail.com": ("google", {"provider.connections@ip": 5, "messages_per_connection": 50}),
    "outlook.com": ("microsoft", {"connections@ip": 5, "provider.connections": 500}),
    "contoso.com": ("microsoft", {"connections@ip": 5, "provider.connections@ip": 20}),
    "customer-of-microsoft.example": ("microsoft", {"connections@ip": 5}),
    "yahoo.com": ("yahoo", {"provider.connections@ip": 10, "messages_per_connection": 20}),
    "aol.com": ("yahoo", {"messages_per_connection": 20}),
    "icloud.com": ("apple", {"provider.connections@ip": 10, "messages_per_connection": 5}),
    "comcast.net": ("comcast", {"provider.connections@ip": 25}),
    "cox.net": ("cox", {"provider.connections@ip": 10, "messages_per_connection": 100}),
    "gmx.net": ("gmx", {"connections@ip": 4, "messages_per_connection": 20}),
    "web.de": ("gmx", {"connections@ip": 4, "messages_per_connection": 20}),
    "orange.fr": ("orange", {"provider.connections@ip": 2}),
    "qq.com": ("qq", {"provider.connections@ip": 4, "messages_per_connection": 8}),
    "163.com": ("163", {"provider.connections@ip": 4, "messages_per_connection": 7}),
    "customer-of-mimecast.example": ("mimecast", {"connections@ip": 10}),
    "customer-of-proofpoint.example": ("proofpoint", {"connections@ip": 10}),
}


@pytest.mark.parametrize("domain", SHAPES)
def test_what_our_rules_come_to(domain):
    rules = builtin()
    shape = rules.of_site(rules.sample(domain))
    provider, limits = SHAPES[domain]
    assert shape.provider == provider
    said = {name: text.partition(" ")[0] for name, text in shape.named()}
    assert {name: said[name] for name in limits} == {k: str(v) for k, v in limits.items()}
    assert said["rate"] == "100/s"


def test_hosts_with_the_name_of_a_filter_are_no_other_customers():
    of = builtin().providers.of
    assert (of("cxr.mx.a.cloudfilter.net"), of("tmo-east.mx.a.cloudfilter.net")) == ("cox", "")


def test_our_rules_have_nothing_wrong_and_each_with_limits_is_reached():
    rules = builtin()
    assert findings(rules) == []
    reached = {
        bound.rule.partition(" ")[0]
        for rule in rules.rules
        for hosts in rule.samples.values()
        for bound in rules.of_site(hosts).bounds
    }
    stated = {r.id for r in rules.rules if r.figures and r.step not in {Step.ROUTED, Step.DOMAIN}}
    assert reached == stated
