"""A request to send an email, checked, before it is a message."""

from dataclasses import dataclass
from typing import Any

import msgspec

from sealwax.model.address import Mailbox
from sealwax.model.topics import Stream


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with the message.

    Attributes:
        filename: Text without control characters, 1 to 255 characters.
        content: Its bytes, which arrive unchanged.
        content_type: Media type, with its parameters; never multipart.
        content_id: What `cid:` in the HTML names, without angle brackets; empty for none.
    """

    filename: str
    content: bytes
    content_type: str
    content_id: str


@dataclass(frozen=True, slots=True)
class TemplateRef:
    """Which stored template to render.

    Attributes:
        id: Its name or its id.
        version: None for the newest one; a stored request has it pinned.
        variables: The values for it.
    """

    id: str
    version: int | None
    variables: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """What a customer asked for.

    Attributes:
        author: The From address.
        to: One or more, as given; at most 50 in to, cc and bcc together.
        cc: As given.
        bcc: As given; never in the message.
        reply_to: As given.
        subject: One line; None where the template has it.
        html: Body, or None.
        text: Body, or None; without a template at least one of the two has content.
        headers: Name and value, in order; none that sealwax itself writes.
        attachments: In order.
        tags: Name and value, in order; names are unique.
        stream: Decides the topic.
        give_up_after_ms: From accept on, 1 minute to 7 days; None for the stream's own setting.
        data: Values for rendering; None: subject, html and text are sent literally. With a
            template always there, the same as its `variables`.
        template: Or None.
    """

    author: Mailbox
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    reply_to: tuple[Mailbox, ...]
    subject: str | None
    html: str | None
    text: str | None
    headers: tuple[tuple[str, str], ...]
    attachments: tuple[Attachment, ...]
    tags: tuple[tuple[str, str], ...]
    stream: Stream
    give_up_after_ms: int | None
    data: dict[str, Any] | None
    template: TemplateRef | None

    @property
    def recipients(self) -> tuple[Mailbox, ...]:
        """Each address once, in the order of to, cc, bcc; its index is the recipient's.

        Equal means the same domain in any case and exactly the same local part (RFC 5321 2.4).
        """
        if len(self.to) == 1 and not self.cc and not self.bcc:
            return self.to
        by_address: dict[str, Mailbox] = {}
        for mailbox in (*self.to, *self.cc, *self.bcc):
            by_address.setdefault(mailbox.address, mailbox)
        return tuple(by_address.values())

    @property
    def data_json(self) -> bytes | None:
        """`data` as the renderer takes it: a JSON object, or None."""
        return None if self.data is None else msgspec.json.encode(self.data)
