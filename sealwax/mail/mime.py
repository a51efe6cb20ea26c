"""The bytes of a message, composed from a submission."""

from collections.abc import Sequence

from sealwax import native
from sealwax.model.address import Mailbox
from sealwax.model.submission import Submission
from sealwax.native import Draft, ItemError

__all__ = ["Draft", "ItemError", "compose_messages", "draft", "message_id"]


def message_id(email_id: str, rcpt_index: int, domain: str) -> str:
    """The Message-ID of one recipient's copy, without brackets."""
    return f"{email_id}.{rcpt_index}@{domain}"


def draft(
    submission: Submission, *, email_id: str, accepted_at_ms: int, rcpt_indexes: Sequence[int]
) -> Draft:
    """What the copies for these recipients are composed from; texts are taken as they are.

    Everything in a copy is a function of the submission, `email_id` and the recipient's index, so
    that a second rendering after a crash makes the same bytes.
    """
    return Draft(
        email_id=email_id,
        date_ms=accepted_at_ms,
        author=_pair(submission.author),
        to=[_pair(mailbox) for mailbox in submission.to],
        cc=[_pair(mailbox) for mailbox in submission.cc],
        reply_to=[_pair(mailbox) for mailbox in submission.reply_to],
        subject=submission.subject or "",
        html=submission.html,
        text=submission.text,
        headers=submission.headers,
        attachments=[
            (file.filename, file.content_type, file.content_id, file.content)
            for file in submission.attachments
        ],
        message_ids=[message_id(email_id, i, submission.author.domain) for i in rcpt_indexes],
    )


def compose_messages(drafts: Sequence[Draft]) -> list[list[bytes] | ItemError]:
    """The unsigned copies of each draft, one per Message-ID, or what is wrong with it."""
    return native.compose(drafts)


def _pair(mailbox: Mailbox) -> tuple[str, str]:
    return mailbox.name, mailbox.address
