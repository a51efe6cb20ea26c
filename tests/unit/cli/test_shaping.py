"""`sealwax shaping explain` and `sealwax check`, as users call them."""

import json
import os
import socket
import subprocess
import time

import pytest

from tests.support.platform import ROOT, SEALWAX
from tests.support.smtp_dns import dns_server

# Nobody answers there.
NO_DNS = {"SEALWAX_NAMESERVER": "127.0.0.1:1"}
SOON = {"SEALWAX_DNS_TIMEOUT": "1s"}


def run(*arguments: str, status: int = 0, **settings: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SEALWAX_", "KAFKA_"))}
    done = subprocess.run(
        [SEALWAX, *arguments],
        env={**kept, **NO_DNS, **SOON, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_a_domain_that_the_rules_know_is_explained_without_dns():
    said = run("shaping", "explain", "Gmail.com", "--ip", "192.0.2.1")
    assert "google (Google: Gmail and Workspace)" in said
    assert "for 192.0.2.1 alone" in said
    assert "default < settings < provider < site < domain" in said
    assert "google v1" in said
    assert "KumoMTA" in said


def test_what_is_overridden_is_shown_with_who_did_it():
    said = json.loads(
        run("shaping", "explain", "gmail.com", "--json", SEALWAX_CONNECTIONS_PER_SITE="3")
    )
    limits = {(one["at"], one["limit"], one["per_ip"]): one for one in said["limits"]}
    assert limits["site", "connections", False]["rule"] == "settings"
    assert limits["site", "connections", False]["value"] == "3"
    assert limits["provider", "connections", True]["value"] == "5"
    assert {
        "limit": "site connections",
        "value": "10",
        "rule": "default v1",
        "by": "settings: 3",
    } in (said["overridden"])
    assert said["provider"] == "google"


def test_a_routed_domain_and_a_smart_host_are_explained():
    said = run("shaping", "explain", "a.test", SEALWAX_SMTP_ROUTES="a.test=127.0.0.1:25")
    assert "the route to 127.0.0.1:25" in said
    assert "routed v1" in said
    smart = json.loads(
        run("shaping", "explain", "a.test", "--json", SEALWAX_SMTP_ROUTES="*=127.0.0.1:25")
    )
    assert smart["site"] == "*=127.0.0.1:25"
    assert smart["merged"] == ["routed", "settings", "domain"]


def test_a_rule_for_a_domain_does_not_hold_for_the_whole_smart_host(tmp_path):
    own = tmp_path / "own.toml"
    limits = "[{ at = 'site', connections = 2 }, { rate = '5/s' }]"
    own.write_text(f"[[domain]]\nid = 'a'\ndomains = ['a.test']\nlimits = {limits}\n")

    def explained(routes: str) -> list[tuple[str, str, str]]:
        said = run(
            "shaping", "explain", "a.test", "--json",
            SEALWAX_SMTP_ROUTES=routes, SEALWAX_SHAPING=str(own),
        )  # fmt: skip
        return [(one["at"], one["limit"], one["value"]) for one in json.loads(said)["limits"]]

    rate = ("domain", "rate", "5/s")
    assert explained("*=127.0.0.1:25") == [("site", "connections", "20"), rate]
    assert explained("a.test=127.0.0.1:25") == [("site", "connections", "2"), rate]


def test_an_operators_figures_are_told_from_ours(tmp_path):
    own = tmp_path / "own.toml"
    limit = "{ at = 'provider', connections = 7, per_ip = true }"
    own.write_text(f"[provider.google]\nlimits = [{limit}]\n")
    said = run("shaping", "explain", "gmail.com", SEALWAX_SHAPING=str(own))
    assert "google v1 (own.toml)" in said
    assert "google v1 (own.toml): 7" in said
    assert "provider connections for each source IP" in said


def test_another_domain_is_looked_up(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[[domain]]\nid = 'a'\ndomains = ['a.test']\nlimits = [{ rate = '2/m' }]\n")
    zone = {("a.test", "MX"): ["1 mx1.l.google.com.", "2 mx2.l.google.com."]}
    with dns_server(zone) as names:
        said = json.loads(
            run(
                "shaping", "explain", "a.test", "--json",
                SEALWAX_NAMESERVER=f"127.0.0.1:{names.port}", SEALWAX_SHAPING=str(own),
            )
        )  # fmt: skip
    assert (said["provider"], said["known_by"]) == ("google", "DNS")
    assert said["hosts"] == ["mx1.l.google.com", "mx2.l.google.com"]
    assert [one["value"] for one in said["limits"] if one["at"] == "domain"] == ["2/m"]


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        ("a.test", "the MX hosts of a.test are not known"),
        ("-", "'-' "),
        ("192.0.2.1", "'192.0.2.1' "),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(domain, problem):
    said = run("shaping", "explain", "--", domain, status=1)
    assert said.startswith(f"sealwax: {problem}")
    assert said.count("\n") == 1


def test_a_source_that_is_no_address_is_refused():
    said = run("shaping", "explain", "gmail.com", "--ip", "192.0.2", status=1)
    assert said == "sealwax: --ip '192.0.2' is no IP address, such as 192.0.2.1\n"


def test_check_says_that_nothing_is_wrong():
    assert run("check").endswith("for replies: nothing wrong\n")
    assert json.loads(run("check", "--json")) == {"data": [], "serious": 0}


def test_check_ends_with_1_where_a_rule_is_of_no_use(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[provider.x]\nname = 'X'\nmx = ['x.test']\nlimits = [{ connections = 1 }]\n")
    said = run("check", status=1, SEALWAX_SHAPING=str(own))
    assert "error: own.toml: x: no sample reaches it: add `samples`" in said
    assert "1 to look at" in said


def test_check_shows_all_rules_that_cannot_be_read(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[default]\nlimits = [{ connections = 0 }]\n[[site]]\nid = 'a'\n")
    said = run("check", status=1, SEALWAX_SHAPING=str(own)).splitlines()
    assert said[0].startswith("error: own.toml: default: connections must be a number from 1 on")
    assert said[1] == "error: own.toml: a: mx must be a list of suffixes of MX host names"
    assert said[2] == "nothing else was checked"
    told = json.loads(run("check", "--json", status=1, SEALWAX_SHAPING=str(own)))
    assert [one["rule"] for one in told["data"]] == ["own.toml: default", "own.toml: a"]
    assert told["serious"] == 2


def test_check_compares_samples_with_dns():
    zone = {
        ("gmail.com", "MX"): ["1 mx.l.google.com."],
        ("comcast.net", "MX"): ["1 mx1.yahoodns.net."],
    }
    with dns_server(zone) as names:
        said = run("check", "--dns", SEALWAX_NAMESERVER=f"127.0.0.1:{names.port}")
    assert "warning: shaping.toml: comcast: its sample comcast.net is yahoo's by DNS now" in said
    assert "gmail.com is" not in said
    assert "orange.fr was not compared" in said


def test_check_does_not_wait_for_each_sample_where_dns_is_away():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        said = run("check", "--dns", SEALWAX_NAMESERVER=server)
    # A second after another would be a second for each of the samples.
    assert time.monotonic() - began < 10
    assert "sealwax: no sample was compared: DNS did not answer for gmail.com in time" in said
    assert "nothing wrong" in said
