"""What operators may set about outgoing SMTP sessions."""

from dataclasses import dataclass, field, fields
from datetime import timedelta

from sealwax.errors import ConfigurationError
from sealwax.smtp.blocked import Blocked


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """Names, limits and timeouts of the SMTP client; the defaults are those of RFC 5321 4.5.3.2.

    Attributes:
        ehlo_name: What EHLO says; the host name that the source address resolves to.
        port: Port of MX hosts, 1 to 65535. Routes bring their own.
        room_timeout: For a connection to be free where all of `open_sessions` are in use.
        connect_timeout: For a TCP connection, per address.
        banner_timeout: For the greeting.
        tls_timeout: For the reply to STARTTLS, and again for the handshake.
        command_timeout: For the replies to EHLO, MAIL, RCPT and RSET.
        data_timeout: For the reply to DATA.
        block_timeout: For each 64 KB of a message to leave.
        dot_timeout: For the reply to the final dot. Short ones double mail.
        quit_timeout: For the peer to close after QUIT; nobody waits for it.
        idle_timeout: An unused session is closed after it.
        drain: How long a drain waits for replies to final dots.
        lease_after: An attempt that takes longer is reported as hanging.
        messages_per_session: A session is closed after so many, at least 1.
        open_sessions: Connections of this process at a time, at least 1.
        addresses_per_attempt: An attempt gives up after so many addresses, at least 1.
        broken_tls_memory: A host whose STARTTLS failed gets clear text for so long.
        dead_host_memory: An MX host that failed is tried after the others for so long.
        nameservers: Addresses of resolvers; empty = those of the system.
        nameserver_port: Their port.
        dns_timeout: For one look-up, with its retries; for the machine's look-up of a route too.
        ipv6: Whether AAAA records are used.
        allow_private_mx: Whether MX look-ups may lead to loopback and private networks.
        blocked: MX hosts that nothing is sent to.
    """

    ehlo_name: str
    port: int = 25
    room_timeout: timedelta = timedelta(minutes=1)
    connect_timeout: timedelta = timedelta(seconds=30)
    banner_timeout: timedelta = timedelta(minutes=5)
    tls_timeout: timedelta = timedelta(minutes=2)
    command_timeout: timedelta = timedelta(minutes=5)
    data_timeout: timedelta = timedelta(minutes=2)
    block_timeout: timedelta = timedelta(minutes=3)
    dot_timeout: timedelta = timedelta(minutes=10)
    quit_timeout: timedelta = timedelta(seconds=2)
    idle_timeout: timedelta = timedelta(seconds=10)
    drain: timedelta = timedelta(seconds=60)
    lease_after: timedelta = timedelta(seconds=30)
    messages_per_session: int = 100
    open_sessions: int = 1000
    addresses_per_attempt: int = 5
    broken_tls_memory: timedelta = timedelta(minutes=10)
    dead_host_memory: timedelta = timedelta(minutes=1)
    nameservers: tuple[str, ...] = ()
    nameserver_port: int = 53
    dns_timeout: timedelta = timedelta(seconds=10)
    ipv6: bool = False
    allow_private_mx: bool = False
    blocked: Blocked = field(default_factory=Blocked)

    def __post_init__(self) -> None:
        """Refuses what no session could work with.

        Raises:
            ConfigurationError: A value is out of its bounds; the text names it.
        """
        if (
            not self.ehlo_name.isascii()
            or not self.ehlo_name.isprintable()
            or " " in self.ehlo_name
        ):
            raise ConfigurationError(f"{self.ehlo_name!r} cannot be said in EHLO: use a host name")
        if not self.ehlo_name:
            raise ConfigurationError("EHLO needs a name: set SEALWAX_EHLO_NAME")
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, timedelta):
                too_small = value <= timedelta()
            else:
                too_small = type(value) is int and value <= 0  # a bool is no number here
            if too_small:
                raise ConfigurationError(f"{one.name} of SMTP must be above zero, not {value}")
