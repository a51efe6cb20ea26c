"""Rules for shaping, as a file says them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sealwax.policy.shaping.shape import Scope, What
from sealwax.policy.throttle import Rate


class Step(StrEnum):
    """Whose limits a rule states, in the order in which they are merged: the later one wins."""

    DEFAULT = "default"
    ROUTED = "routed"
    SETTINGS = "settings"
    PROVIDER = "provider"
    SITE = "site"
    DOMAIN = "domain"


class Figure(NamedTuple):
    """One limit that a rule states.

    Attributes:
        scope: Over what it counts.
        what: What it counts.
        per_ip: Whether each source address counts for itself.
        value: How many or how often; None for no limit, whatever rules before it say.
        source: Where the rule has it from.
    """

    scope: Scope
    what: What
    per_ip: bool
    value: int | Rate | None
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        id: Its name.
        version: Raised with each change of a figure.
        step: Whose limits it states.
        names: Suffixes of MX hosts; of a rule for domains the domains.
        figures: Its limits.
        samples: Recipient domain -> its MX hosts, as known when the rule was written.
        called: What people call a provider.
        file: Where it stands.
    """

    id: str
    version: int
    step: Step
    names: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    samples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    called: str = ""
    file: str = ""

    @property
    def named(self) -> str:
        """Id and version, as outcomes say them."""
        return f"{self.id} v{self.version}" if self.version else self.id
