"""One attempt: from a domain or a route over the first host that talks to a result."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from sealwax import clock
from sealwax.model.reply import Command, Reply
from sealwax.smtp.blocked import is_refusal
from sealwax.smtp.connect import TlsFailedError, open_session, opportunistic_context
from sealwax.smtp.gates import Gates
from sealwax.smtp.job import Job, Result
from sealwax.smtp.memory import Memory
from sealwax.smtp.mx import Host
from sealwax.smtp.pool import Pool
from sealwax.smtp.resolver import Resolver
from sealwax.smtp.session import Session, SessionBrokenError, SessionKey, StaleSessionError
from sealwax.smtp.settings import SmtpSettings

_MOST_HOSTS_REMEMBERED = 10_000


class Surroundings:
    """What the attempts of an engine share."""

    def __init__(
        self,
        settings: SmtpSettings,
        random: Random,
        resolver: Resolver,
        on_free: Callable[[str, int], None] = lambda _site, _permits: None,
    ) -> None:
        self.settings = settings
        self.gates = Gates(on_free)
        self.random = random
        self.resolver = resolver
        self.pool = Pool(
            settings.open_sessions,
            settings.idle_timeout.total_seconds(),
            settings.room_timeout.total_seconds(),
        )
        self.tls = opportunistic_context()
        self.broken_tls: Memory[str, bool] = Memory(_MOST_HOSTS_REMEMBERED)
        self.dead_hosts: Memory[str, bool] = Memory(_MOST_HOSTS_REMEMBERED)


class Ended(NamedTuple):
    """An attempt is over.

    Attributes:
        result: What it came to.
        session: The session that it used, to be kept or ended; None where none is left.
    """

    result: Result
    session: Session | None


class Attempt:
    """One job on its way. A transaction is begun once, and again only where a session was stale."""

    def __init__(
        self,
        job: Job,
        around: Surroundings,
        may_begin: Callable[[], bool],
        may_end: Callable[[], bool],
    ) -> None:
        self._job = job
        self._around = around
        self._may_begin = may_begin
        self._may_end = may_end
        self._start()
        self._tries_left = job.most_connections or around.settings.addresses_per_attempt
        self._has_place = False
        self._failure: Result | None = None

    async def run(self) -> Ended:
        """The result; never an error for anything that a peer or the network does.

        Raises:
            NotAllowedError: The caller may no longer send; there is no result.
        """
        while session := self._around.pool.take(self._job.site, self._job.source_ip):
            if ended := await self._on_kept(session):
                return ended
        hosts = await self._hosts()
        if isinstance(hosts, Reply):
            return Ended(self._result(hosts), None)
        self._start()
        try:
            for host in hosts:
                ended = await self._new_session(host)
                if ended is not None:
                    return ended
        finally:
            if self._has_place:
                self._give_place_back()
        nowhere = Reply(Command.ROUTE, 0, "4.4.4", "no host to connect to")
        return Ended(self._failure or self._result(nowhere), None)

    def _start(self) -> None:
        """Begins to count; by the monotonic clock, so that no attempt ends before it began."""
        self._started_at_ms, self._started_at = clock.both()

    async def _hosts(self) -> Sequence[Host] | Reply:
        """The hosts in the order in which they are tried."""
        route, around = self._job.route, self._around
        if route is not None:
            return (Host(route.host, route.port),)
        target = await around.resolver.target(self._job.domain)
        if isinstance(target, Reply) or len(target.hosts) == 1:
            return target if isinstance(target, Reply) else target.hosts
        return sorted(
            target.hosts,
            key=lambda host: (
                host.name in around.dead_hosts,
                host.preference,
                around.random.random(),
            ),
        )

    def _key(self, host: Host) -> SessionKey:
        return SessionKey(self._job.site, self._job.source_ip, host.name, host.port)

    async def _on_kept(self, session: Session) -> Ended | None:
        """The attempt on a session that is open already; None where it works no more."""
        try:
            return await self._transact(session, connect_ms=0)
        except StaleSessionError:
            return None

    async def _place(self) -> Session | None:
        """Waits until a connection may be opened; or a session that has become free meanwhile.

        Raises:
            TimeoutError: The engine has no place for one more connection.
        """
        site = self._job.site
        if (kept := await self._around.gates.enter(site)) is not None:
            return kept
        try:
            await self._around.pool.reserve()
        except BaseException:
            self._around.gates.left(site)
            raise
        self._has_place = True
        if self._failure is None:
            self._start()
        return None

    def _give_place_back(self) -> None:
        self._around.pool.release()
        self._around.gates.left(self._job.site)

    async def _new_session(self, host: Host) -> Ended | None:
        """The attempt on a new session, if one of the host's addresses lets us open it."""
        addresses = await self._addresses(host)
        if isinstance(addresses, Reply):
            self._note(self._result(addresses, host.name))
            return None
        for ip in addresses[: self._tries_left]:
            while not self._has_place:
                try:
                    kept = await self._place()
                except TimeoutError:
                    return Ended(self._result(_no_room(self._around.settings)), None)
                if kept is not None and (ended := await self._on_kept(kept)):
                    return ended
            self._tries_left -= 1
            begun_at = clock.monotonic()
            try:
                session = await self._open(self._key(host), ip)
            except SessionBrokenError as error:
                self._note(self._result(error.reply, host.name, ip))
                continue
            self._has_place = False
            session.when_lost(self._give_place_back)
            if self._job.most_messages:
                session.most_messages = self._job.most_messages
            return await self._transact(session, _ms_since(begun_at))
        memory_s = self._around.settings.dead_host_memory.total_seconds()
        self._around.dead_hosts.put(host.name, True, memory_s)
        return None

    async def _addresses(self, host: Host) -> Sequence[str] | Reply:
        if self._job.route is not None:
            return await _system_addresses(host, self._around.settings)
        found = await self._around.resolver.addresses(host.name)
        if isinstance(found, Reply) and found.permanent and not is_refusal(found):
            # The domain exists and names a host that does not: a slip that may be mended.
            return Reply(Command.ROUTE, 0, "4.4.4", f"MX host without an address: {found.text}")
        return found

    async def _open(self, key: SessionKey, ip: str) -> Session:
        around = self._around
        if key.host not in around.broken_tls:
            try:
                return await open_session(key, ip, around.settings, around.tls)
            except TlsFailedError:
                memory_s = around.settings.broken_tls_memory.total_seconds()
                around.broken_tls.put(key.host, True, memory_s)
        return await open_session(key, ip, around.settings, None)

    async def _transact(self, session: Session, connect_ms: int) -> Ended:
        reused, in_doubt = session.messages > 0, False
        try:
            reply = await session.transact(self._job, self._may_begin, self._may_end)
        except SessionBrokenError as error:
            reply, in_doubt = error.reply, error.in_doubt
        peer, smtp_ms = session.peer, _ms_since(self._started_at)
        result = Result(
            reply=reply,
            accepted=reply.command is Command.DOT and reply.positive,
            in_doubt=in_doubt,
            mx_host=session.key.host,
            mx_ip=peer.ip,
            source_ip=peer.source_ip,
            tls=peer.tls,
            connect_ms=connect_ms,
            smtp_ms=smtp_ms,
            dot_ms=session.dot_ms,
            reused=reused,
            started_at_ms=self._started_at_ms,
            ended_at_ms=self._started_at_ms + smtp_ms,
        )
        return Ended(result, session)

    def _result(self, reply: Reply, mx_host: str = "", mx_ip: str = "") -> Result:
        """The result of an attempt that came to no transaction."""
        smtp_ms = _ms_since(self._started_at)
        return Result(
            reply=reply,
            accepted=False,
            in_doubt=False,
            mx_host=mx_host,
            mx_ip=mx_ip,
            source_ip=self._job.source_ip,
            tls="",
            connect_ms=0,
            smtp_ms=smtp_ms,
            dot_ms=0,
            reused=False,
            started_at_ms=self._started_at_ms,
            ended_at_ms=self._started_at_ms + smtp_ms,
        )

    def _note(self, failure: Result) -> None:
        """Keeps the failure that says most: the last one, but a peer's words before our own.

        That a host is blocked here counts only where all are: another one may answer tomorrow.
        """
        kept = self._failure
        if (
            kept is None
            or is_refusal(kept.reply)
            or (not is_refusal(failure.reply) and (failure.reply.code or not kept.reply.code))
        ):
            self._failure = failure


def _no_room(settings: SmtpSettings) -> Reply:
    within_s = settings.room_timeout.total_seconds()
    text = f"none of {settings.open_sessions} connections was free within {within_s:g} s"
    return Reply(Command.ROUTE, 0, "4.4.5", text)


def _ms_since(monotonic_s: float) -> int:
    return round((clock.monotonic() - monotonic_s) * 1000)


async def _system_addresses(host: Host, settings: SmtpSettings) -> Sequence[str] | Reply:
    """Addresses of a route's host, as this machine resolves names (hosts file and all)."""
    try:
        return (str(ipaddress.ip_address(host.name)),)
    except ValueError:
        pass
    family = socket.AF_UNSPEC if settings.ipv6 else socket.AF_INET
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.dns_timeout.total_seconds()):
            found = await loop.getaddrinfo(
                host.name, host.port, family=family, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        return Reply(Command.ROUTE, 0, "4.4.3", f"DNS did not answer for {host.name} in time")
    except (OSError, UnicodeError) as cause:
        return Reply(Command.ROUTE, 0, "4.4.3", f"{host.name} cannot be resolved: {cause}")
    return [str(address[4][0]) for address in found]
