"""What a peer answered, RFC 5321 section 4.2 and RFC 3463."""

from dataclasses import dataclass
from enum import StrEnum


class Command(StrEnum):
    """The step of an SMTP session that a reply answers, or in which a session broke."""

    ROUTE = "ROUTE"  # before any connection: the MX look-up
    CONNECT = "CONNECT"
    BANNER = "BANNER"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "DOT"  # the final dot: the message is in doubt until its reply


# Until a recipient was named the peer refuses us, not the message: a refusal is about the path.
BEFORE_RCPT = frozenset(
    {Command.CONNECT, Command.BANNER, Command.EHLO, Command.STARTTLS, Command.MAIL}
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, or what stands for one where the peer gave none.

    Attributes:
        command: The step that it answers.
        code: Three digits; 0 where the session broke before an answer.
        status: RFC 3463 status such as `4.7.1`; empty where the peer gave none.
        text: The peer's words without code and status, lines joined by a space; for a broken
            session, ours.
    """

    command: Command
    code: int
    status: str
    text: str

    @property
    def positive(self) -> bool:
        """Whether the peer took the step (2xx, 3xx)."""
        return 200 <= self.code < 400  # noqa: PLR2004 - RFC 5321 4.2.1

    @property
    def permanent(self) -> bool:
        """Whether the peer refused for good (5xx); everything else is temporary."""
        return 500 <= self.code < 600  # noqa: PLR2004 - RFC 5321 4.2.1
