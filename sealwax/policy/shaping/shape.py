"""The limits that are in force for a site."""

from dataclasses import dataclass
from enum import StrEnum

from sealwax.policy.throttle import Rate


class Scope(StrEnum):
    """Over what a limit counts."""

    PROVIDER = "provider"
    SITE = "site"
    DOMAIN = "domain"


class What(StrEnum):
    """What a limit counts."""

    CONNECTIONS = "connections"
    RATE = "rate"
    CONNECTION_RATE = "connection_rate"
    MESSAGES_PER_CONNECTION = "messages_per_connection"


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit in force.

    Attributes:
        scope: Over what it counts.
        what: What it counts.
        value: How many, or how often.
        per_ip: Whether each source IP counts for itself.
        rule: Id and version of the rule that says so, such as `google v1`.
        source: Where the rule has it from.
    """

    scope: Scope
    what: What
    value: int | Rate
    per_ip: bool = False
    rule: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """The limits of a site.

    Attributes:
        bounds: Those in force; at most one for each scope, thing that is counted, and `per_ip`.
        provider: Who runs its hosts; empty where nobody that is known runs all.
    """

    bounds: tuple[Bound, ...] = ()
    provider: str = ""

    def of(self, what: What) -> tuple[Bound, ...]:
        """Its limits of one kind."""
        return tuple(one for one in self.bounds if one.what is what)

    def least(self, what: What) -> int | None:
        """The lowest of its limits of one kind, which is a number; None where it has none."""
        return min((one.value for one in self.of(what) if isinstance(one.value, int)), default=None)

    def named(self) -> tuple[tuple[str, str], ...]:
        """Its limits as an outcome records them: a site's by what they count, others by scope too.

        Each says its value, and the rule where it is not a setting.
        """
        return tuple((_name(one), _said(one)) for one in self.bounds)


def site_shape(connections: int = 20, rate: Rate | None = None) -> Shape:
    """The limits that settings give to every site."""
    bounds = [Bound(Scope.SITE, What.CONNECTIONS, connections)]
    if rate is not None:
        bounds.append(Bound(Scope.SITE, What.RATE, rate))
    return Shape(tuple(bounds))


def _name(bound: Bound) -> str:
    scope = "" if bound.scope is Scope.SITE else f"{bound.scope}."
    return f"{scope}{bound.what}" + ("@ip" if bound.per_ip else "")


def _said(bound: Bound) -> str:
    return f"{bound.value} ({bound.rule})" if bound.rule else str(bound.value)
