"""One message on its way to one recipient."""

from dataclasses import dataclass
from typing import NamedTuple

from sealwax.model.event import Wait


class Position(NamedTuple):
    """Where a record stands in the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a ready or a retry record holds: envelope, history, and the signed bytes.

    Attributes:
        email_id: UUIDv7 of the email, 36 characters.
        rcpt_index: Which of the email's recipients, from 0; with the email's id it names the copy.
        tenant_id: Owner of the mail.
        stream: `transactional` or `marketing`.
        reverse_path: MAIL FROM.
        rcpt: RCPT TO; the domain is an A-label.
        rcpt_domain: Its domain, an A-label in lower case.
        accepted_at_ms: When the email was accepted; the time inside `email_id`.
        give_up_at_ms: From then on no further attempt is planned.
        attempt: Attempts made so far.
        due_ms: When it leaves its delay topic; 0 in a ready record.
        not_before_ms: When it may be sent; 0 in a ready record.
        source_ip: Egress source to keep (greylisting), or empty.
        dkim_domain: d= of the signature that aligns with From.
        template: Name and version of the template, or empty.
        tags: The sender's tags, in order.
        request: Position of the request in the log, where the bodies can be read.
        since_ms: Up to when its time is accounted for: the end of the last attempt or wait.
        waits: Waits since the last stored outcome, for the next one to carry.
        message: The signed message, CRLF lines, not dot-stuffed.
    """

    email_id: str
    rcpt_index: int
    tenant_id: str
    stream: str
    reverse_path: str
    rcpt: str
    rcpt_domain: str
    accepted_at_ms: int
    give_up_at_ms: int
    attempt: int
    due_ms: int
    not_before_ms: int
    source_ip: str
    dkim_domain: str
    template: str
    tags: tuple[tuple[str, str], ...]
    request: Position
    since_ms: int
    waits: tuple[Wait, ...]
    message: bytes
