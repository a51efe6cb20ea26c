"""`sealwax shaping`: which limits hold for a destination, and why."""

import random
from typing import Annotated, Any, NamedTuple

from cyclopts import App, Parameter

from sealwax.cli.options import Json
from sealwax.cli.output import plain, say, say_json, say_table
from sealwax.config import Settings, load
from sealwax.errors import ConfigurationError
from sealwax.model.address import AddressError, a_label_domain
from sealwax.model.reply import Reply
from sealwax.policy.shaping.rule import Step
from sealwax.policy.shaping.rules import ShapingRules, Stated
from sealwax.policy.shaping.shape import Bound
from sealwax.policy.site import site_of
from sealwax.smtp.resolver import Resolver

app = App(name="shaping", help="Limits for mail to a destination: explain them.")

_HEADINGS = ("at", "limit", "counted", "value", "rule", "from")
_STEPS = "default < settings < provider < site < domain"
_STEPS_ROUTED = "routed < settings < domain"


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
    to = _destination(settings, rules, domain)
    routed = not to.hosts
    stated = rules.stated_for_routed(domain) if routed else rules.stated_for(to.hosts)
    stated = [*stated, *rules.stated_for_domain(domain)]
    shape = rules.of_routed(domain) if routed else rules.of_site(to.hosts)
    bounds = (*shape.bounds, *rules.of_domain(domain))
    provider = "" if routed else rules.providers.of_all(to.hosts)
    if json:
        say_json(_facts(to, provider, bounds, stated, ip))
        return
    named = f"{provider} ({rules.providers.names[provider]})" if provider else "none that is known"
    say(f"site      {to.site}")
    say(f"provider  {named}")
    say(f"hosts     {', '.join(to.hosts) or 'those of the route'}, known by {to.known_by}")
    say(f"merged    {_STEPS_ROUTED if routed else _STEPS}: of several figures the last one holds")
    say("")
    say_table(_HEADINGS, [_cells(bound, ip) for bound in bounds])
    if over := _overridden(stated):
        say("")
        say_table(("overridden", "value", "rule", "by"), over)


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


def _cells(bound: Bound, ip: str) -> tuple[str, ...]:
    counted = "in all"
    if bound.per_ip:
        counted = f"for {ip} alone" if ip else "for each source IP"
    rule, source = bound.rule or Step.SETTINGS, plain(bound.source or "your file")
    return bound.scope, bound.what, counted, str(bound.value), rule, source


def _overridden(stated: list[Stated]) -> list[tuple[str, ...]]:
    """Figures that a later one replaces."""
    rows: list[tuple[str, ...]] = []
    for index, (rule, figure) in enumerate(stated):
        same = [s for s in stated[index + 1 :] if s.figure[:3] == figure[:3]]
        if same:
            by = f"{same[0].rule.named}: {_value(same[0])}"
            rows.append((f"{figure.scope} {figure.what}", _value(stated[index]), rule.named, by))
    return rows


def _value(stated: Stated) -> str:
    return "none" if stated.figure.value is None else str(stated.figure.value)


def _facts(
    to: Destination, provider: str, bounds: tuple[Bound, ...], stated: list[Stated], ip: str
) -> dict[str, Any]:
    return {
        "site": to.site,
        "provider": provider,
        "hosts": list(to.hosts),
        "known_by": to.known_by,
        "limits": [
            {
                "at": bound.scope,
                "limit": bound.what,
                "per_ip": bound.per_ip,
                **({"ip": ip} if ip and bound.per_ip else {}),
                "value": str(bound.value),
                "rule": bound.rule or Step.SETTINGS,
                "source": bound.source,
            }
            for bound in bounds
        ],
        "overridden": [
            dict(zip(("limit", "value", "rule", "by"), row, strict=True))
            for row in _overridden(stated)
        ],
    }
