"""`sealwax check`: whether the files with rules do what they say."""

import random
import sys
from collections.abc import Mapping
from concurrent.futures import wait
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter

from sealwax.cli.options import Json
from sealwax.cli.output import complain, plain, say, say_json
from sealwax.config import Settings, load
from sealwax.model.reply import Reply
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.builtin import errors
from sealwax.policy.shaping.lint import Finding, findings
from sealwax.policy.shaping.rules import ShapingRules
from sealwax.smtp.resolver import Resolver

# A domain without MX records is asked for its addresses too.
_LOOK_UPS_EACH = 2


def check(
    *,
    dns: Annotated[
        bool, Parameter(negative=(), help="Compare the rules' samples with DNS as it is now.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the rules for shaping, yours among them, and those for replies.

    Ends with status 1 where a rule cannot be read, or does not do what it says.
    """
    settings = load()
    try:
        replies = builtin()
        rules = settings.shaping
    except RuleError as first:
        found = [_unreadable(one) for one in errors(settings.shaping_file) or [first]]
        checked = "nothing else was checked"
    else:
        hosts = _hosts(settings, rules) if dns else {}
        found = findings(rules, hosts.get)
        count = f"{len(rules.rules)} rules for shaping, {len(replies.rules)} for replies"
        checked = f"{count}: {f'{len(found)} to look at' if found else 'nothing wrong'}"
    serious = sum(one.serious for one in found)
    if json:
        say_json({"data": [_facts(one) for one in found], "serious": serious})
    else:
        for one in found:
            say(f"{_level(one)}: {plain(one.rule)}: {plain(one.problem)}")
        say(checked)
    if serious:
        sys.exit(1)


def _hosts(settings: Settings, rules: ShapingRules) -> Mapping[str, tuple[str, ...]]:
    """The MX hosts that the samples have now, all asked for at once; of some it is not known."""
    timeout = settings.smtp.dns_timeout.total_seconds() * _LOOK_UPS_EACH
    hosts: dict[str, tuple[str, ...]] = {}
    unknown: dict[str, str] = {}
    with closing(Resolver(settings.smtp, random.Random())) as resolver:  # noqa: S311 - spreads load
        answers = {domain: resolver.look_up(domain) for domain in rules.sampled()}
        wait(answers.values(), timeout)
        for domain, answer in answers.items():
            found = answer.result() if answer.done() else None
            if found is None:
                unknown[domain] = f"DNS did not answer for {domain} in time"
            elif isinstance(found, Reply):
                unknown[domain] = found.text
            else:
                hosts[domain] = tuple(sorted(host.name for host in found.hosts))
    if unknown and not hosts:
        complain(f"no sample was compared: {next(iter(unknown.values()))}, nor for the others")
    else:
        for domain, why in unknown.items():
            complain(f"{domain} was not compared: {why}")
    return hosts


def _unreadable(error: RuleError) -> Finding:
    return Finding(True, error.rule, f"{error.field} {error.problem}".strip())


def _level(one: Finding) -> str:
    return "error" if one.serious else "warning"


def _facts(one: Finding) -> dict[str, str]:
    return {"level": _level(one), "rule": one.rule, "problem": one.problem}
