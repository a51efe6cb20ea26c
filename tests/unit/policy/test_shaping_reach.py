"""Which hosts the rules for shaping reach: by real replies, by samples, by suffixes."""

import pytest

from sealwax.policy.shaping.builtin import builtin, shaping
from sealwax.policy.shaping.lint import Finding, findings
from sealwax.policy.shaping.rule import Step
from tests.support.reply_corpus import entries

WIDE = """
[provider.wide]
name = "Wide"
mx = ["wide.test"]
"""


def test_each_of_our_providers_is_reached_by_a_sample_or_by_a_real_reply():
    rules = builtin()
    reached = {rules.providers.of(entry.mx) for entry in entries()}
    reached |= {
        rules.providers.of_all(hosts) for rule in rules.rules for hosts in rule.samples.values()
    }
    assert {rule.id for rule in rules.rules if rule.step is Step.PROVIDER} - reached == set()


def found(tmp_path, text: str) -> list[Finding]:
    own = tmp_path / "own.toml"
    own.write_text(text)
    return findings(shaping(own))


@pytest.mark.parametrize(
    ("mx", "other"),
    [("mx.eu.wide.test", "wide"), ("mx.google.com", "google"), ("a.b.c.yahoodns.net", "yahoo")],
)
def test_a_suffix_that_takes_hosts_from_another_provider_is_told(tmp_path, mx, other):
    text = f"[provider.narrow]\nname = 'Narrow'\nmx = ['{mx}']\n"
    (one,) = found(tmp_path, WIDE + text)
    assert (one.serious, one.rule) == (False, "own.toml: narrow")
    assert one.problem.startswith(f"mx {mx} takes hosts from {other}, whose limits do not hold")
    assert one.problem.endswith(f"leave it out if they are {other}'s")


@pytest.mark.parametrize("mx", ["notwide.test", "wide.test.example"])
def test_a_suffix_takes_hosts_from_another_one_by_whole_labels_only(tmp_path, mx):
    assert found(tmp_path, WIDE + f"[provider.other]\nname = 'Other'\nmx = ['{mx}']\n") == []


def test_a_site_of_a_provider_takes_nothing_from_it(tmp_path):
    text = """
    [[site]]
    id = "some"
    mx = ["eu.wide.test"]
    limits = [{ connections = 2 }]
    samples = { "some.test" = ["mx.eu.wide.test"] }
    """
    assert found(tmp_path, WIDE + text) == []


def test_an_operators_sample_is_believed_before_ours(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(
        """
        [provider.yahoo]
        limits = [{ connections = 3 }]
        samples = { "comcast.net" = ["mx1.yahoodns.net"] }
        """
    )
    rules = shaping(own)
    assert rules.sample("comcast.net") == ("mx1.yahoodns.net",)
    assert rules.sample("gmail.com") == builtin().sample("gmail.com")
    assert rules.sample("a.test") == ()
