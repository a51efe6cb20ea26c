"""Who runs a host: the providers, known by the names of their MX hosts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sealwax.policy.classify.rule_error import RuleError

_KEYS = {"name", "mx"}


@dataclass(frozen=True, slots=True)
class Providers:
    """The provider of every host name that ends in a known way.

    Attributes:
        names: Provider -> what people call it.
        by_suffix: Suffix of host names, in lower case without a leading dot -> provider.
    """

    names: Mapping[str, str]
    by_suffix: Mapping[str, str]

    def of(self, host: str) -> str:
        """The provider of a host by the longest suffix that is known; empty where none is."""
        rest = host.lower().rstrip(".")
        while rest:
            found = self.by_suffix.get(rest)
            if found is not None:
                return found
            rest = rest.partition(".")[2]
        return ""


def providers_from(document: Mapping[str, Any]) -> Providers:
    """Providers from the content of a providers.toml: a table each, with `name` and `mx`.

    Raises:
        RuleError: Something in it is not as it has to be; the text says what.
    """
    names: dict[str, str] = {}
    by_suffix: dict[str, str] = {}
    for provider, table in document.items():
        if not isinstance(table, dict):
            raise RuleError(provider, "", "a provider is a table with name and mx")
        for key in table.keys() - _KEYS:
            raise RuleError(provider, key, f"is not known; there are {', '.join(sorted(_KEYS))}")
        name = table.get("name")
        if not isinstance(name, str) or not name:
            raise RuleError(provider, "name", "must be what people call it")
        names[provider] = name
        for suffix in _suffixes(provider, table.get("mx")):
            other = by_suffix.setdefault(suffix, provider)
            if other != provider:
                raise RuleError(provider, "mx", f"{suffix} is {other}'s already")
    return Providers(names, by_suffix)


def _suffixes(provider: str, mx: object) -> list[str]:
    if not isinstance(mx, list) or not mx:
        raise RuleError(provider, "mx", "must be a list of suffixes of MX host names")
    for suffix in mx:
        if not isinstance(suffix, str) or suffix != suffix.lower().strip(".") or "." not in suffix:
            raise RuleError(
                provider, "mx", f"{suffix!r} must be a domain in lower case, such as yahoodns.net"
            )
    return mx
