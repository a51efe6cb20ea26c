"""`sealwax shaping`: which limits hold for a destination, and why."""

import random
from ipaddress import ip_address
from typing import Annotated, Any, NamedTuple

from cyclopts import App, Parameter

from sealwax.cli.options import Json
from sealwax.cli.output import plain, say, say_json, say_table
from sealwax.config import Settings, load
from sealwax.errors import ConfigurationError
from sealwax.model.address import AddressError, a_label_domain
from sealwax.model.reply import Reply
from sealwax.policy.shaping.builtin import FILE
from sealwax.policy.shaping.rule import Rule, Step
from sealwax.policy.shaping.rules import ShapingRules, Stated
from sealwax.policy.shaping.shape import Bound
from sealwax.policy.site import site_of
from sealwax.smtp.resolver import Resolver

app = App(name="shaping", help="Limits for mail to a destination: explain them.")

_HEADINGS = ("at", "limit", "counted", "value", "rule", "from")
_STEPS = (Step.DEFAULT, Step.SETTINGS, Step.PROVIDER, Step.SITE, Step.DOMAIN)
_STEPS_ROUTED = (Step.ROUTED, Step.SETTINGS, Step.DOMAIN)


class Destination(NamedTuple):
    """Where a domain's mail goes.

    Attributes:
        site: The name of its site.
        hosts: Its MX hosts; empty where it is routed.
        known_by: How they are known.
    """

    site: str
    hosts: tuple[str, ...]
    known_by: str


@app.command
def explain(
    domain: Annotated[str, Parameter(help="A recipient's domain, such as gmail.com.")],
    /,
    *,
    ip: Annotated[str, Parameter(help="A source address: what counts for it alone.")] = "",
    json: Json = False,
) -> None:
    """Show the limits in force for a domain, which rule says each, and what it overrides."""
    settings = load()
    rules = settings.shaping
    try:
        domain = a_label_domain(domain)
    except AddressError as error:
        raise ConfigurationError(f"{domain!r} {error}") from error
    ip = _address(ip) if ip else ""
    to = _destination(settings, rules, domain)
    routed = not to.hosts
    # A smart host takes the mail of all domains: no rule for one of them is its own.
    alone = domain if to.site == domain else ""
    stated = rules.stated_for_routed(alone) if routed else rules.stated_for(to.hosts)
    stated = [*stated, *rules.stated_for_domain(domain)]
    shape = rules.of_routed(alone) if routed else rules.of_site(to.hosts)
    bounds = (*shape.bounds, *rules.of_domain(domain))
    steps = _STEPS_ROUTED if routed else _STEPS
    if json:
        merged = {"provider": shape.provider, "merged": list(steps)}
        say_json({**to._asdict(), **merged, **_facts(bounds, stated, ip)})
        return
    provider = shape.provider
    named = f"{provider} ({rules.providers.names[provider]})" if provider else "none that is known"
    say(f"site      {to.site}")
    say(f"provider  {named}")
    say(f"hosts     {', '.join(to.hosts) or 'those of the route'}, known by {to.known_by}")
    say(f"merged    {' < '.join(steps)}: of several figures the last one holds")
    say("")
    say_table(_HEADINGS, [_cells(bound, _says(bound, stated), ip) for bound in bounds])
    if over := _overridden(stated):
        say("")
        say_table(("overridden", "value", "rule", "by"), over)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ConfigurationError(f"--ip {text!r} is no IP address, such as 192.0.2.1") from None


def _destination(settings: Settings, rules: ShapingRules, domain: str) -> Destination:
    route = settings.routes.route(domain)
    if route is not None:
        return Destination(settings.routes.site(domain), (), f"the route to {route}")
    hosts = rules.sample(domain)
    if hosts:
        return Destination(site_of(hosts), tuple(sorted(hosts)), "the rules' own samples")
    resolver = Resolver(settings.smtp, random.Random())  # noqa: S311 - spreads load
    try:
        found = resolver.look_up(domain).result()
    finally:
        resolver.close()
    if isinstance(found, Reply):
        raise ConfigurationError(f"the MX hosts of {domain} are not known: {found.text}")
    hosts = tuple(sorted(host.name for host in found.hosts))
    return Destination(site_of(hosts), hosts, "DNS")


def _says(bound: Bound, stated: list[Stated]) -> Rule:
    """The rule that a limit is from."""
    key = bound.scope, bound.what, bound.per_ip
    return next(one.rule for one in reversed(stated) if one.figure[:3] == key)


def _named(rule: Rule) -> str:
    """A rule, and the file where that is the operator's: ours may have one of the same name."""
    return rule.named if rule.file in {"", FILE} else f"{rule.named} ({plain(rule.file)})"


def _cells(bound: Bound, says: Rule, ip: str) -> tuple[str, ...]:
    counted = "in all"
    if bound.per_ip:
        counted = f"for {ip} alone" if ip else "for each source IP"
    source = plain(bound.source or "your file")
    return bound.scope, bound.what, counted, str(bound.value), _named(says), source


def _overridden(stated: list[Stated]) -> list[tuple[str, ...]]:
    """Figures that a later one replaces."""
    rows: list[tuple[str, ...]] = []
    for index, (rule, figure) in enumerate(stated):
        same = [s for s in stated[index + 1 :] if s.figure[:3] == figure[:3]]
        if same:
            by = f"{_named(same[0].rule)}: {_value(same[0])}"
            limit = f"{figure.scope} {figure.what}{' for each source IP' * figure.per_ip}"
            rows.append((limit, _value(stated[index]), _named(rule), by))
    return rows


def _value(stated: Stated) -> str:
    return "none" if stated.figure.value is None else str(stated.figure.value)


def _facts(bounds: tuple[Bound, ...], stated: list[Stated], ip: str) -> dict[str, Any]:
    return {
        "limits": [
            {
                "at": bound.scope,
                "limit": bound.what,
                "per_ip": bound.per_ip,
                **({"ip": ip} if ip and bound.per_ip else {}),
                "value": str(bound.value),
                "rule": bound.rule or Step.SETTINGS,
                "file": _says(bound, stated).file,
                "source": bound.source,
            }
            for bound in bounds
        ],
        "overridden": [
            dict(zip(("limit", "value", "rule", "by"), row, strict=True))
            for row in _overridden(stated)
        ],
    }
