"""Mail hosts that nothing is sent to, by name or by network."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Self

from sealwax.errors import ConfigurationError
from sealwax.model.reply import Command, Reply

_STATUS = "5.7.1"  # RFC 3463: delivery not authorized, message refused
_ANY_CHILD = "*."
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Blocked:
    """Names, `*.` and a name for all below it, and networks."""

    def __init__(self, names: Sequence[str] = (), networks: Sequence[_Network] = ()) -> None:
        self._names = frozenset(name for name in names if not name.startswith(_ANY_CHILD))
        self._ends = tuple(name[1:] for name in names if name.startswith(_ANY_CHILD))
        self._networks = tuple(networks)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `mx.example.com, *.example.net, 192.0.2.0/24`; empty text blocks nothing.

        Raises:
            ConfigurationError: A part is neither; the text quotes it.
        """
        names, networks = [], []
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(part))
            except ValueError as error:
                if not _NAME.fullmatch(part):
                    raise ConfigurationError(
                        f"{part!r} is neither a host, *.domain nor a network such as 192.0.2.0/24"
                        f"{f': {error}' if '/' in part else ''}"
                    ) from None
                names.append(part.lower().rstrip("."))
        return cls(names, networks)

    def host(self, name: str) -> bool:
        """Whether a host is blocked by its name, in lower case without the final dot."""
        return name in self._names or name.endswith(self._ends)

    def address(self, ip: str) -> bool:
        """Whether an address is blocked."""
        address = ipaddress.ip_address(ip)
        return any(address in network for network in self._networks)


def refusal(name: str) -> Reply:
    """What stands for the reply of a host that is blocked; for good, since somebody wants it so."""
    text = f"mail to the host {name} is blocked here (SEALWAX_BLOCKED_MX)"
    return Reply(Command.ROUTE, 550, _STATUS, text)


def is_refusal(reply: Reply) -> bool:
    """Whether a reply is one that `refusal` made."""
    return reply.command is Command.ROUTE and reply.status == _STATUS
