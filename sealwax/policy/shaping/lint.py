"""What is wrong with rules for shaping though each of them can be read."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sealwax.policy.shaping.providers import longest
from sealwax.policy.shaping.rule import Rule, Step
from sealwax.policy.shaping.rules import ShapingRules
from sealwax.policy.shaping.shape import Scope, What

# The MX hosts of a domain as they are now; None where that is not known.
LookUp = Callable[[str], tuple[str, ...] | None]


class Finding(NamedTuple):
    """Something to mend.

    Attributes:
        serious: Whether a rule does not what it says; else it may be meant so.
        rule: The rule, with its file.
        problem: What is wrong, and what to change.
    """

    serious: bool
    rule: str
    problem: str


def findings(rules: ShapingRules, look_up: LookUp | None = None) -> list[Finding]:
    """All that is found.

    Args:
        rules: Those in force.
        look_up: Asks for the MX hosts of samples; None to compare nothing.
    """
    sites = {name: rule.id for rule in rules.rules if rule.step is Step.SITE for name in rule.names}
    found = [
        *_twice(rules),
        *_unreached(rules, sites),
        *_strange_samples(rules, sites),
        *_never_binding(rules),
        *_shadowed(rules),
    ]
    if look_up is not None:
        found += _moved(rules, look_up)
    return found


def _twice(rules: ShapingRules) -> Iterator[Finding]:
    """Two rules for sites that are known by the same hosts: only one is ever found."""
    owner: dict[str, Rule] = {}
    for rule in rules.rules:
        for name in rule.names if rule.step is Step.SITE else ():
            other = owner.setdefault(name, rule)
            if other.id != rule.id:
                yield Finding(True, _of(rule), f"mx {name} is {_of(other)}'s too: state it once")


def _unreached(rules: ShapingRules, sites: Mapping[str, str]) -> Iterator[Finding]:
    """Rules with limits that no sample shows to be of use."""
    samples = [hosts for rule in rules.rules for hosts in rule.samples.values()]
    reached = {_site(hosts, sites) for hosts in samples}
    reached |= {rules.providers.of_all(hosts) for hosts in samples}
    for rule in rules.rules:
        if rule.step in {Step.PROVIDER, Step.SITE} and rule.figures and rule.id not in reached:
            advice = "add `samples` with a domain and its MX hosts, or mend `mx`"
            yield Finding(True, _of(rule), f"no sample reaches it: {advice}")


def _shadowed(rules: ShapingRules) -> Iterator[Finding]:
    """Suffixes that take hosts away from another provider, which has a shorter one."""
    for rule in rules.rules:
        for name in rule.names if rule.step is Step.PROVIDER else ():
            other = rules.providers.of(name.partition(".")[2])
            if other not in {"", rule.id}:
                text = f"mx {name} takes hosts from {other}, whose limits do not hold for them then"
                yield Finding(False, _of(rule), f"{text}; leave it out if they are {other}'s")


def _strange_samples(rules: ShapingRules, sites: Mapping[str, str]) -> Iterator[Finding]:
    """Samples that stand in one rule and are another's."""
    for rule in rules.rules:
        for domain, hosts in rule.samples.items():
            provider, site = rules.providers.of_all(hosts), _site(hosts, sites)
            if rule.id not in {provider, site}:
                whose = provider or site or "nobody"
                yield Finding(False, _of(rule), f"its sample {domain} is {whose}'s by its hosts")


def _never_binding(rules: ShapingRules) -> Iterator[Finding]:
    """Connections of a site that its provider never has."""
    for rule in rules.rules:
        for hosts in rule.samples.values():
            bounds = rules.of_site(hosts).of(What.CONNECTIONS)
            wide = {one.per_ip: one.value for one in bounds if one.scope is Scope.PROVIDER}
            for bound in bounds:
                own = bound.scope is Scope.SITE and bound.rule == rule.named
                most, of_provider = bound.value, wide.get(bound.per_ip)
                if own and isinstance(most, int) and isinstance(of_provider, int):
                    text = f"{most} connections to a site, of {of_provider} to its provider"
                    if most > of_provider:
                        yield Finding(False, _of(rule), text)


def _moved(rules: ShapingRules, look_up: LookUp) -> Iterator[Finding]:
    """Samples whose domains have other hosts now: their rule may be of no use any more."""
    for rule in rules.rules:
        for domain, hosts in rule.samples.items():
            now = None if domain.endswith(".example") else look_up(domain)
            if now is None:
                continue
            was, provider = rules.providers.of_all(hosts), rules.providers.of_all(now)
            if provider != was:
                whose = f"{provider}'s" if provider else "of nobody that is known"
                text = f"its sample {domain} is {whose} by DNS now: {', '.join(now)}"
                yield Finding(False, _of(rule), text)


def _site(hosts: tuple[str, ...], sites: Mapping[str, str]) -> str:
    found = {longest(sites, host) for host in hosts}
    return found.pop() if len(found) == 1 else ""


def _of(rule: Rule) -> str:
    return f"{rule.file}: {rule.id}"
