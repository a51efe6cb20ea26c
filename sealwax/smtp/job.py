"""What the engine is given, and what it gives back."""

from dataclasses import dataclass
from typing import Any

from sealwax.model.reply import Reply
from sealwax.smtp.route import Route


@dataclass(frozen=True, slots=True)
class Job:
    """One message for one recipient, to be attempted once.

    Attributes:
        handle: Whatever the caller wants back with the result; the engine never looks at it.
        site: The site that the message is queued by; for the caller as well.
        domain: The recipient's domain, an A-label in lower case.
        route: Where to send instead of the domain's MX hosts.
        source_ip: Local address to send from; empty = the system's choice.
        reverse_path: MAIL FROM; empty for a DSN.
        rcpt: RCPT TO.
        message: CRLF lines, 7 bit, not dot-stuffed.
        permits: How many connections the site may have more than before; 0 where the message goes
            by one that is free.
        most_messages: Messages on a connection that is opened for it; 0 = the settings say it.
        most_connections: Connections that are tried for it; 0 = the settings say it.
        idle_s: How long a connection is kept without a message; 0 = the settings say it.
    """

    handle: Any
    site: str
    domain: str
    route: Route | None
    source_ip: str
    reverse_path: str
    rcpt: str
    message: bytes
    permits: int = 1
    most_messages: int = 0
    most_connections: int = 0
    idle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What an attempt came to. A refusal or a broken session is a value too.

    Attributes:
        reply: The reply that ended the attempt, or what stands for it.
        accepted: The peer took the message.
        in_doubt: The session broke after the final dot was written: the peer may have taken it.
        mx_host: The host that was talked to last; empty where none was found.
        mx_ip: Its address; empty where there was no connection.
        source_ip: The local address; the job's where there was no connection.
        tls: Version of TLS such as `TLSv1.3`, or empty.
        connect_ms: From connecting to EHLO answered; 0 on a reused session.
        smtp_ms: The whole attempt: `ended_at_ms - started_at_ms`.
        dot_ms: From the final dot to its reply; 0 where there was no dot.
        reused: The session had carried a message before.
        started_at_ms: Wall clock when the attempt left the engine's queue and its hosts were known.
        ended_at_ms: When its last reply came or its session broke, on the clock of `started_at_ms`
            however the wall clock was set meanwhile.
    """

    reply: Reply
    accepted: bool
    in_doubt: bool
    mx_host: str
    mx_ip: str
    source_ip: str
    tls: str
    connect_ms: int
    smtp_ms: int
    dot_ms: int
    reused: bool
    started_at_ms: int
    ended_at_ms: int
