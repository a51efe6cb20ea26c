"""Who runs a host: the providers, known by the names of their MX hosts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


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
        return longest(self.by_suffix, host)

    def of_all(self, hosts: Collection[str]) -> str:
        """The provider of all these hosts; empty where they are not all of one."""
        found = {self.of(host) for host in hosts}
        return found.pop() if len(found) == 1 else ""


def longest(by_suffix: Mapping[str, str], host: str) -> str:
    """What the longest suffix of a host's name, in whole labels, stands for; empty for none."""
    rest = host.lower().rstrip(".")
    while rest:
        found = by_suffix.get(rest)
        if found is not None:
            return found
        rest = rest.partition(".")[2]
    return ""
