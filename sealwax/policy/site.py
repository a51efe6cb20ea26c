"""Sites: domains whose mail is taken by the same hosts share one queue and its limits."""

from collections.abc import Collection
from hashlib import sha256

_DIGEST = 6


def site_of(hosts: Collection[str]) -> str:
    """The name of the site that these MX hosts are, whatever their order and preferences.

    One host is a site by its own name. Several are named by what their names end in, and by a
    digest that tells sets apart which end alike: `aspmx.l.google.com~1a2b3c`.

    Args:
        hosts: Names of the hosts, A-labels without the final dot, in any case; at least one.
    """
    names = sorted({host.lower() for host in hosts})
    if len(names) == 1:
        return names[0]
    digest = sha256("\n".join(names).encode()).hexdigest()[:_DIGEST]
    return f"{_common_end(names) or names[0]}~{digest}"


def _common_end(names: Collection[str]) -> str:
    """The labels that all names end in, two at least; empty where they do not."""
    common: list[str] = []
    for labels in zip(*(reversed(name.split(".")) for name in names), strict=False):
        if len(set(labels)) > 1:
            break
        common.append(labels[0])
    return ".".join(reversed(common)) if len(common) > 1 else ""
