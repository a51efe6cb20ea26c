"""What is wrong with rules for shaping though each of them can be read."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sealwax.policy.shaping.providers import longest
from sealwax.policy.shaping.rule import Rule, Step
from sealwax.policy.shaping.rules import ShapingRules, names
from sealwax.policy.shaping.shape import Bound, Scope
from sealwax.policy.throttle import Rate

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
        *_covered(rules),
        *_outlived(rules),
        *_unreached(rules, sites),
        *_strange_samples(rules, sites),
        *_never_binding(rules),
        *_shadowed(rules),
    ]
    if look_up is not None:
        found += _moved(rules, sites, look_up)
    return list(dict.fromkeys(found))  # several samples may show the same


def _twice(rules: ShapingRules) -> Iterator[Finding]:
    """Two rules for sites that are known by the same hosts: only one is ever found."""
    owner: dict[str, Rule] = {}
    for rule in rules.rules:
        for name in rule.names if rule.step is Step.SITE else ():
            other = owner.setdefault(name, rule)
            if other.id != rule.id:
                yield Finding(True, _of(rule), f"mx {name} is {_of(other)}'s too: state it once")


def _covered(rules: ShapingRules) -> Iterator[Finding]:
    """Suffixes of a rule that another one of the same rule has in it."""
    for rule in rules.rules:
        for index, name in enumerate(rule.names if rule.step is not Step.DOMAIN else ()):
            others = dict.fromkeys((*rule.names[:index], *rule.names[index + 1 :]), "yes")
            if longest(others, name):
                yield Finding(False, _of(rule), f"mx {name} is in another of its mx: leave it out")


def _outlived(rules: ShapingRules) -> Iterator[Finding]:
    """Figures for domains that a later rule states for all of them: they never hold."""
    of_domains = [rule for rule in rules.rules if rule.step is Step.DOMAIN]
    for index, rule in enumerate(of_domains):
        for later in of_domains[index + 1 :]:
            if not all(names(later, name) for name in rule.names):
                continue
            later_keys = {figure[:3] for figure in later.figures}
            for figure in rule.figures:
                if figure[:3] in later_keys:
                    text = f"its {figure.what} never holds: {_of(later)} comes later, for the same"
                    yield Finding(True, _of(rule), f"{text} domains; put the narrower rule last")


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
    """Limits of a site that are above those of its provider."""
    for rule in rules.rules:
        for hosts in rule.samples.values():
            bounds = rules.of_site(hosts).bounds
            for own in bounds:
                if own.scope is not Scope.SITE or own.rule != rule.named:
                    continue
                for wide in bounds:
                    if wide.scope is Scope.PROVIDER and _above(own, wide):
                        what = own.what.replace("_", " ")
                        text = f"{own.value} {what} to a site, of {wide.value} to its provider"
                        yield Finding(False, _of(rule), f"{text}: that never holds")


def _above(own: Bound, wide: Bound) -> bool:
    # What all addresses have together bounds each of them too, and not the other way round.
    comparable = own.what is wide.what and (own.per_ip or not wide.per_ip)
    return comparable and _often(own.value) > _often(wide.value)


def _often(value: int | Rate) -> float:
    return value if isinstance(value, int) else 1 / value.period_ms


def _moved(rules: ShapingRules, sites: Mapping[str, str], look_up: LookUp) -> Iterator[Finding]:
    """Samples whose domains have hosts of others now: their rule may be of no use any more."""
    known = set(rules.sampled())
    for rule in rules.rules:
        for domain, hosts in rule.samples.items():
            now = look_up(domain) if domain in known else None
            if now is None:
                continue
            was, provider = rules.providers.of_all(hosts), rules.providers.of_all(now)
            site_was, site = _site(hosts, sites), _site(now, sites)
            if (provider, site) != (was, site_was):
                owner = provider if provider != was else site or provider
                whose = f"{owner}'s" if owner else "of nobody that is known"
                text = f"its sample {domain} is {whose} by DNS now: {', '.join(now)}"
                yield Finding(False, _of(rule), text)


def _site(hosts: tuple[str, ...], sites: Mapping[str, str]) -> str:
    found = {longest(sites, host) for host in hosts}
    return found.pop() if len(found) == 1 else ""


def _of(rule: Rule) -> str:
    return f"{rule.file}: {rule.id}"
