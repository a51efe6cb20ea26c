"""`sealwax check`: whether the files with rules do what they say."""

import random
import sys
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter

from sealwax.cli.options import Json
from sealwax.cli.output import complain, plain, say, say_json
from sealwax.config import load
from sealwax.model.reply import Reply
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.shaping.lint import Finding, findings
from sealwax.smtp.resolver import Resolver


def check(
    *,
    dns: Annotated[
        bool, Parameter(negative=(), help="Compare the rules' samples with DNS as it is now.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the rules for shaping, yours among them, and those for replies.

    Ends with status 1 where a rule does not do what it says.
    """
    settings = load()
    rules = settings.shaping
    replies = builtin()
    if dns:
        with closing(Resolver(settings.smtp, random.Random())) as resolver:  # noqa: S311 - spreads load
            found = findings(rules, lambda domain: _hosts(resolver, domain))
    else:
        found = findings(rules)
    serious = sum(one.serious for one in found)
    if json:
        say_json({"data": [_facts(one) for one in found], "serious": serious})
    else:
        for one in found:
            level = "error" if one.serious else "warning"
            say(f"{level}: {plain(one.rule)}: {plain(one.problem)}")
        count = f"{len(rules.rules)} rules for shaping, {len(replies.rules)} for replies"
        say(f"{count}: {'nothing wrong' if not found else f'{len(found)} to look at'}")
    if serious:
        sys.exit(1)


def _hosts(resolver: Resolver, domain: str) -> tuple[str, ...] | None:
    found = resolver.look_up(domain).result()
    if isinstance(found, Reply):
        complain(f"{domain} was not compared: {found.text}")
        return None
    return tuple(sorted(host.name for host in found.hosts))


def _facts(one: Finding) -> dict[str, str]:
    level = "error" if one.serious else "warning"
    return {"level": level, "rule": one.rule, "problem": one.problem}
