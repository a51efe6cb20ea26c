"""Which limits hold for a destination.

They are merged step by step: the default, the settings for every site, the provider, the site, the
domain. In each step the rules that come with sealwax stand before the operator's own, and each file
in its order. Of several figures for the same thing at the same scope the last one holds; `none`
takes those before it away. A domain that the operator has routed is a site of its own: its steps
are `routed`, the settings, and rules that name the domain.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.providers import Providers, longest
from sealwax.policy.shaping.rule import Figure, Rule, Step
from sealwax.policy.shaping.shape import Bound, Scope, Shape

_CACHED = 10_000


class Stated(NamedTuple):
    """A figure, and the rule that states it."""

    rule: Rule
    figure: Figure


class ShapingRules:
    """The rules in force. Thread-safe; the same hosts have the same shape, whoever asks.

    Args:
        rules: Those of all files, in their order.
        settings: What the settings say of every site.

    Raises:
        RuleError: They contradict each other.
    """

    def __init__(self, rules: Sequence[Rule], settings: Sequence[Figure] = ()) -> None:
        self.rules = tuple(rules)
        own = Rule("settings", 0, Step.SETTINGS, figures=tuple(settings))
        self._by_step = {
            step: [*(own,) * (step is Step.SETTINGS), *(r for r in rules if r.step is step)]
            for step in Step
        }
        _one_kind_each(self.rules)
        self.providers = _providers(self._by_step[Step.PROVIDER])
        self._sites = {name: rule.id for rule in self._by_step[Step.SITE] for name in rule.names}
        self.of_site = lru_cache(_CACHED)(self._of_site)
        self.of_domain = lru_cache(_CACHED)(self._of_domain)

    def _of_site(self, hosts: tuple[str, ...]) -> Shape:
        """The limits of the site with these MX hosts, whichever domain's they are."""
        return Shape(_merged(self.stated_for(hosts)), self.providers.of_all(hosts))

    def of_routed(self, domain: str) -> Shape:
        """The limits of a domain that has been routed elsewhere."""
        return Shape(_merged(self.stated_for_routed(domain)))

    def _of_domain(self, domain: str) -> tuple[Bound, ...]:
        """The limits that a recipient domain has of its own, in its site; mostly none."""
        return _merged(self.stated_for_domain(domain))

    def stated_for(self, hosts: Collection[str]) -> list[Stated]:
        """What the rules state for a site, in the order in which it is merged."""
        provider = self.providers.of_all(hosts)
        ids = {longest(self._sites, host) for host in hosts}
        site = ids.pop() if len(ids) == 1 else ""
        of_provider = [r for r in self._by_step[Step.PROVIDER] if provider and r.id == provider]
        of_site = [r for r in self._by_step[Step.SITE] if site and r.id == site]
        stated = _stated(
            *self._by_step[Step.DEFAULT], *self._by_step[Step.SETTINGS], *of_provider, *of_site
        )
        return [one for one in stated if one.figure.scope is not Scope.DOMAIN]

    def stated_for_routed(self, domain: str) -> list[Stated]:
        """The same for a domain that has been routed elsewhere."""
        own = [one for one in self._of_domains(domain) if one.figure.scope is Scope.SITE]
        return [*_stated(*self._by_step[Step.ROUTED], *self._by_step[Step.SETTINGS]), *own]

    def stated_for_domain(self, domain: str) -> list[Stated]:
        """The same for what a domain has of its own, in its site."""
        stated = [*_stated(*self._by_step[Step.DEFAULT]), *self._of_domains(domain)]
        return [one for one in stated if one.figure.scope is Scope.DOMAIN]

    def sampled(self) -> tuple[str, ...]:
        """The domains that rules have as samples, without those that exist nowhere."""
        found = dict.fromkeys(domain for rule in self.rules for domain in rule.samples)
        return tuple(domain for domain in found if not domain.endswith(".example"))

    def sample(self, domain: str) -> tuple[str, ...]:
        """The MX hosts of a domain that a rule has as its sample; empty where none has.

        Where several have it the last one knows: that is the operator's, who may know better.
        """
        for rule in reversed(self.rules):
            if domain in rule.samples:
                return rule.samples[domain]
        return ()

    def _of_domains(self, domain: str) -> list[Stated]:
        return _stated(*(r for r in self._by_step[Step.DOMAIN] if names(r, domain)))


def names(rule: Rule, domain: str) -> bool:
    """Whether a rule for domains is for this one; `*.a.test` is below itself, for a rule's name."""
    return any(
        name == domain or (name.startswith("*.") and domain.endswith(name[1:]))
        for name in rule.names
    )


def _one_kind_each(rules: Iterable[Rule]) -> None:
    kinds: dict[str, Rule] = {}
    for rule in rules:
        other = kinds.setdefault(rule.id, rule)
        if other.step is not rule.step:
            problem = f"is a {other.step} in {other.file}: a {rule.step} needs another id"
            raise RuleError(f"{rule.file}: {rule.id}", "", problem)


def _stated(*rules: Rule) -> list[Stated]:
    return [Stated(rule, figure) for rule in rules for figure in rule.figures]


def _merged(stated: Iterable[Stated]) -> tuple[Bound, ...]:
    found: dict[tuple[object, ...], Bound] = {}
    for rule, figure in stated:
        key = figure.scope, figure.what, figure.per_ip
        found.pop(key, None)
        if figure.value is not None:
            said = "" if rule.step is Step.SETTINGS else rule.named
            found[key] = Bound(
                figure.scope, figure.what, figure.value, figure.per_ip, said, figure.source
            )
    return tuple(found.values())


def _providers(rules: Iterable[Rule]) -> Providers:
    names: dict[str, str] = {}
    by_suffix: dict[str, str] = {}
    for rule in rules:
        if rule.called:
            names[rule.id] = rule.called
        elif rule.id not in names:
            raise RuleError(f"{rule.file}: {rule.id}", "mx", "is missing: no provider is called so")
        for suffix in rule.names:
            other = by_suffix.setdefault(suffix, rule.id)
            if other != rule.id:
                raise RuleError(f"{rule.file}: {rule.id}", "mx", f"{suffix} is {other}'s already")
    return Providers(names, by_suffix)
