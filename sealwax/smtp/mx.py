"""Which hosts take mail for a domain: RFC 5321 section 5, RFC 7505, cached by TTL."""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.MX import MX

from sealwax.model.reply import Command, Reply
from sealwax.smtp.blocked import refusal
from sealwax.smtp.memory import Memory
from sealwax.smtp.settings import SmtpSettings

_MOST_CACHED = 100_000
_SHORTEST_S = 30.0
_LONGEST_S = 3600.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Host:
    """One host that takes mail.

    Attributes:
        name: Its name, or its address where a route says one.
        port: 1 to 65535.
        preference: Lower is tried first; among equals the choice is free.
    """

    name: str
    port: int
    preference: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """The hosts that take mail for a domain, in order of preference, at least one."""

    hosts: tuple[Host, ...]


class _LookUps(Generic[T]):
    """Answers by name, kept for their TTL; what is asked at the same time is looked up once."""

    def __init__(self, look_up: Callable[[str], Coroutine[None, None, tuple[T, float]]]) -> None:
        self._look_up = look_up
        self._known: Memory[str, T] = Memory(_MOST_CACHED)
        self._running: dict[str, asyncio.Task[T]] = {}

    def known(self, name: str) -> T | None:
        """What is remembered; for any thread."""
        return self._known.get(name)

    async def get(self, name: str) -> T:
        known = self.known(name)
        if known is not None:
            return known
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(self._run(name))
        return await asyncio.shield(task)  # one that stops waiting must not stop the others

    async def _run(self, name: str) -> T:
        try:
            found, ttl_s = await self._look_up(name)
            self._known.put(name, found, min(max(ttl_s, _SHORTEST_S), _LONGEST_S))
            return found
        finally:
            del self._running[name]


class MxResolver:
    """Looks up MX hosts and their addresses. Lives in one event loop.

    A failure is a Reply: class 5 only where DNS said that no mail can go there, class 4 for
    everything that may be different tomorrow.

    Args:
        settings: Name servers and the timeout of a look-up.
        random: Chooses among equal MX hosts.
        at_once: Questions in flight at most.
    """

    def __init__(self, settings: SmtpSettings, random: Random, at_once: int = 100) -> None:
        self._settings = settings
        self._at_once = asyncio.Semaphore(at_once)
        self._random = random
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.nameservers)
        if settings.nameservers:
            self._resolver.nameservers = list(settings.nameservers)
            self._resolver.port = settings.nameserver_port
        self._targets = _LookUps(self._look_up_target)
        self._addresses = _LookUps(self._look_up_addresses)

    async def target(self, domain: str) -> Target | Reply:
        """The MX hosts of a domain, equals in random order."""
        return await self._targets.get(domain)

    def known(self, domain: str) -> Target | Reply | None:
        """What is remembered of `target`; for any thread."""
        return self._targets.known(domain)

    def known_addresses(self, host: str) -> tuple[str, ...] | Reply | None:
        """What is remembered of `addresses`; for any thread."""
        return self._addresses.known(host)

    async def addresses(self, host: str) -> tuple[str, ...] | Reply:
        """The addresses of an MX host that may be connected to; at least one."""
        return await self._addresses.get(host)

    async def _look_up_target(self, domain: str) -> tuple[Target | Reply, float]:
        try:
            answer = await self._query(domain, "MX")
        except dns.resolver.NoAnswer as none:
            return await self._implicit(domain), _negative_ttl(none)
        except (dns.exception.DNSException, OSError, UnicodeError) as cause:
            return _failure(domain, cause), _negative_ttl(cause)
        return self._explicit(domain, answer), answer.chaining_result.minimum_ttl

    def _explicit(self, domain: str, answer: dns.resolver.Answer) -> Target | Reply:
        records = [record for record in answer if isinstance(record, MX)]
        self._random.shuffle(records)
        records.sort(key=lambda record: record.preference)
        named = [record for record in records if record.exchange != dns.name.root]
        if not named:
            text = f"{domain} takes no mail (null MX)"
            return Reply(Command.ROUTE, 556, "5.1.10", text)
        hosts = [
            Host(_text(record.exchange), self._settings.port, record.preference) for record in named
        ]
        allowed = tuple(host for host in hosts if not self._settings.blocked.host(host.name))
        return Target(allowed) if allowed else refusal(hosts[0].name)

    async def _implicit(self, domain: str) -> Target | Reply:
        """Without any MX record the domain is its own host (RFC 5321 5.1)."""
        if self._settings.blocked.host(domain):
            return refusal(domain)
        found = await self.addresses(domain)
        if isinstance(found, Reply):
            if found.permanent and not self._settings.ipv6 and await self._has_ipv6(domain):
                text = f"{domain} has only IPv6 addresses, and IPv6 is off"
                return Reply(Command.ROUTE, 0, "4.4.4", text)
            return found
        return Target((Host(domain, self._settings.port),))

    async def _look_up_addresses(self, host: str) -> tuple[tuple[str, ...] | Reply, float]:
        found: list[str] = []
        failure: Reply | None = None
        ttl = _LONGEST_S
        for kind in ("A", "AAAA") if self._settings.ipv6 else ("A",):
            try:
                answer = await self._query(host, kind)
            except (dns.exception.DNSException, OSError, UnicodeError) as cause:
                failure = failure or _failure(host, cause)
                ttl = min(ttl, _negative_ttl(cause))
            else:
                found += [record.to_text() for record in answer]
                ttl = min(ttl, answer.chaining_result.minimum_ttl)
        public = [ip for ip in found if self._settings.allow_private_mx or is_public(ip)]
        allowed = tuple(ip for ip in public if not self._settings.blocked.address(ip))
        if public and not allowed:
            return refusal(f"{host} [{public[0]}]"), ttl
        return allowed or failure or _forbidden(host, found), ttl

    async def _has_ipv6(self, host: str) -> bool:
        try:
            await self._query(host, "AAAA")
        except dns.exception.DNSException as cause:
            return not isinstance(cause, dns.resolver.NXDOMAIN | dns.resolver.NoAnswer)
        return True

    async def _query(self, name: str, kind: str) -> dns.resolver.Answer:
        async with self._at_once:
            return await self._resolver.resolve(
                dns.name.from_text(name, origin=dns.name.root),
                kind,
                search=False,
                lifetime=self._settings.dns_timeout.total_seconds(),
            )


def is_public(ip: str) -> bool:
    """Whether an MX look-up may lead there: never back to ourselves or into our own networks."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = ipaddress.IPv4Address(address.packed[-4:])
        address = embedded or address
    return address.is_global and not address.is_multicast


def _forbidden(host: str, addresses: list[str]) -> Reply:
    text = f"{host} has only addresses that no mail is sent to: {', '.join(addresses)}"
    return Reply(Command.ROUTE, 0, "4.4.6", text)


def _failure(name: str, cause: Exception) -> Reply:
    match cause:
        case dns.resolver.NXDOMAIN():
            return Reply(Command.ROUTE, 550, "5.1.2", f"{name} does not exist")
        case dns.resolver.NoAnswer():
            return Reply(Command.ROUTE, 550, "5.1.2", f"{name} has neither MX nor address")
        case dns.exception.Timeout():
            return Reply(Command.ROUTE, 0, "4.4.3", f"DNS did not answer for {name} in time")
        case dns.resolver.YXDOMAIN() | dns.name.LabelTooLong() | dns.name.EmptyLabel():
            return Reply(Command.ROUTE, 550, "5.1.2", f"{name} is no domain name")
        case _:
            return Reply(Command.ROUTE, 0, "4.4.3", f"DNS failed for {name}")


def _negative_ttl(cause: Exception) -> float:
    """RFC 2308; the shortest time for what is no answer at all."""
    response: dns.message.Message | None = None
    if isinstance(cause, dns.resolver.NXDOMAIN):
        response = next(iter(cause.responses().values()), None)  # type: ignore[no-untyped-call]  # dnspython
    elif isinstance(cause, dns.resolver.NoAnswer):
        response = cause.kwargs.get("response")
    if isinstance(response, dns.message.QueryMessage):
        try:
            return response.resolve_chaining().minimum_ttl
        except dns.exception.DNSException:
            return 0
    return 0


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
