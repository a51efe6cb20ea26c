"""What a reply says of the message, of its recipient, and of the path that it took."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from typing_extensions import override

from sealwax.model.duration import format_duration


class ReplyClass(StrEnum):
    """What a refusal is about; one word for statistics, timelines and customers."""

    BAD_ADDRESS = "bad_address"  # there is no such mailbox
    BAD_DOMAIN = "bad_domain"  # the domain does not exist, or takes no mail
    INACTIVE = "inactive"  # the mailbox is closed, locked or moved
    MAILBOX_FULL = "mailbox_full"
    OPTED_OUT = "opted_out"  # the recipient has switched this address off
    TOO_LARGE = "too_large"
    RATE = "rate"  # too much in too short a time
    CONNECTIONS = "connections"  # too many at once, or too much over one of them
    GREYLISTING = "greylisting"  # who comes back is let in
    REPUTATION = "reputation"  # an address or a domain of ours is listed, or has a bad name
    CONTENT = "content"  # it looks like spam, or holds what is not taken
    POLICY = "policy"  # the recipient's side does not want it, for a reason of its own
    AUTHENTICATION = "authentication"  # who we are: SPF, DKIM, DMARC, PTR, EHLO, sender's domain
    TLS = "tls"
    MESSAGE = "message"  # the message is not formed as it has to be
    PROTOCOL = "protocol"
    RELAY = "relay"  # the host does not take mail for this domain
    BUSY = "busy"  # trouble at the peer, which passes
    NETWORK = "network"  # no connection, or one that broke
    DNS = "dns"  # where the mail goes could not be looked up
    LOCAL = "local"  # trouble of our own
    UNKNOWN = "unknown"  # no rule knows these words


class Scope(StrEnum):
    """What a path fate holds for."""

    IP = "ip"
    NETBLOCK = "netblock"  # of the source address, /24 or /64
    DKIM_DOMAIN = "dkim_domain"
    SPF_DOMAIN = "spf_domain"
    URL_DOMAIN = "url_domain"  # of the links in the message
    TENANT = "tenant"
    CAMPAIGN = "campaign"
    RECIPIENT = "recipient"
    RECIPIENT_DOMAIN = "recipient_domain"
    SITE = "site"
    PROVIDER = "provider"


class Towards(StrEnum):
    """Where a path fate holds."""

    PROVIDER = "provider"
    SITE = "site"
    EVERYWHERE = "everywhere"


class PathAction(StrEnum):
    """What is done with a path."""

    SLOW = "slow"
    SUSPEND = "suspend"
    TAKE_OUT = "take_out"  # the source leaves the rotation until somebody puts it back


@dataclass(frozen=True, slots=True)
class MessageFate:
    """What becomes of the message.

    Attributes:
        fails: It is not tried again. All else is about a next attempt.
        after_ms: The least wait; 0 for what the schedule says.
        at_once: The next attempt need not wait: only this connection or transaction was at fault.
        same_ip: It has to come from the address that was answered.
    """

    fails: bool
    after_ms: int = 0
    at_once: bool = False
    same_ip: bool = False

    @override
    def __str__(self) -> str:
        if self.fails:
            return "fail"
        after = f" after {_text(self.after_ms)}" if self.after_ms else ""
        once = " at once" if self.at_once else ""
        same = " from the same ip" if self.same_ip else ""
        return f"retry{once}{after}{same}"


@dataclass(frozen=True, slots=True)
class RecipientFate:
    """What becomes of the recipient.

    Attributes:
        failures: With how many such replies the address is suppressed; 0 for never.
        within_ms: In which time they have to come; 0 where the first suffices.
    """

    failures: int = 0
    within_ms: int = 0

    @override
    def __str__(self) -> str:
        match self.failures:
            case 0:
                return "keep"
            case 1:
                return "suppress"
            case _:
                return f"suppress after {self.failures} in {_text(self.within_ms)}"


@dataclass(frozen=True, slots=True)
class PathFate:
    """One thing to do with a path.

    Attributes:
        action: What.
        scope: With what.
        towards: Where; without meaning for a scope that is a place itself.
        duration_ms: For how long; 0 for until somebody resumes it.
        after_ms: Only when such replies have gone on for so long; 0 for at once.
    """

    action: PathAction
    scope: Scope
    towards: Towards
    duration_ms: int = 0
    after_ms: int = 0

    @override
    def __str__(self) -> str:
        lasts = f"for {_text(self.duration_ms)}" if self.duration_ms else "until resumed"
        after = f" after {_text(self.after_ms)}" if self.after_ms else ""
        place = "" if self.scope in _PLACES else f" at {self.towards}"
        if self.towards is Towards.EVERYWHERE:
            place = " everywhere"
        return f"{self.action} {self.scope}{place} {lasts}{after}"


KEEP = RecipientFate()
RETRY = MessageFate(fails=False)
FAIL = MessageFate(fails=True)
# Scopes that say by themselves where they are.
_PLACES = (Scope.RECIPIENT, Scope.RECIPIENT_DOMAIN, Scope.SITE, Scope.PROVIDER)


class Classified(NamedTuple):
    """What a reply means, and by which rule.

    Attributes:
        rule: Id of the rule.
        rule_version: Its version: the same id with another version may decide otherwise.
        reply_class: What the reply is about.
        provider: Who answered, where that is known; else empty.
        message: What becomes of the message.
        recipient: What becomes of the recipient.
        path: What to do with the path; empty for nothing.
        fix: What somebody has to do, in a sentence; empty where there is nothing to do.
    """

    rule: str
    rule_version: int
    reply_class: ReplyClass
    provider: str
    message: MessageFate
    recipient: RecipientFate
    path: tuple[PathFate, ...]
    fix: str


def _text(ms: int) -> str:
    return format_duration(timedelta(milliseconds=ms))
