"""Where mail for a domain goes if not to its MX hosts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from sealwax.errors import ConfigurationError

_EVERYTHING = "*"
_ANY_CHILD = "*."
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Route:
    """One host that takes mail instead of the MX hosts of a domain.

    Attributes:
        host: Name or address; an IPv6 address without its brackets.
        port: 1 to 65535.
    """

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Routes:
    """An ordered table of patterns: the first that matches a domain wins.

    A pattern is a domain, `*.domain` for everything below it, or `*` for everything.
    """

    def __init__(self, rules: Sequence[tuple[str, Route]] = ()) -> None:
        self._rules = tuple(rules)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `pattern=host:port,...`; empty text is no route at all.

        Raises:
            ConfigurationError: A part is not of that form; the text quotes it.
        """
        parts = [part.strip() for part in text.split(",")]
        return cls([_rule(part) for part in parts if part])

    def route(self, domain: str) -> Route | None:
        """The route of a domain (an A-label in lower case), or None for its MX hosts."""
        rule = self._match(domain)
        return rule[1] if rule else None

    def site(self, domain: str) -> str:
        """The site that a domain's mail is queued by.

        It is the domain itself, since two domains that are routed to one host stay two sites; only
        a smart host for everything (`*`) is one site, named `*=host:port`.
        """
        rule = self._match(domain)
        return f"{_EVERYTHING}={rule[1]}" if rule and rule[0] == _EVERYTHING else domain

    def _match(self, domain: str) -> tuple[str, Route] | None:
        for rule in self._rules:
            pattern = rule[0]
            if pattern in (domain, _EVERYTHING):
                return rule
            if pattern.startswith(_ANY_CHILD) and domain.endswith(pattern[1:]):
                return rule
        return None


def is_smart_host(site: str) -> bool:
    """Whether a site takes the mail of every domain."""
    return site.startswith(f"{_EVERYTHING}=")


def _rule(part: str) -> tuple[str, Route]:
    pattern, equals, target = (piece.strip() for piece in part.partition("="))
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError(f"SMTP route {part!r}: an IPv6 address needs brackets, [::1]:25")
    if not (pattern and equals and host and colon):
        raise ConfigurationError(f"SMTP route {part!r} is not of the form pattern=host:port")
    if _EVERYTHING in pattern.removeprefix(_ANY_CHILD) and pattern != _EVERYTHING:
        raise ConfigurationError(f"SMTP route {part!r}: a pattern is a domain, *.domain or *")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT):
        raise ConfigurationError(f"SMTP route {part!r}: the port must be 1 to {_HIGHEST_PORT}")
    return pattern.lower().rstrip("."), Route(host, int(port))
