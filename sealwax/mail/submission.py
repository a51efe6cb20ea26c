"""Reading a submission: the one validation of the API and of records in the requested topics."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sealwax.mail.submission_error import SubmissionError
from sealwax.mail.submission_json import EmailJson, TemplateJson, decode
from sealwax.mail.submission_parts import check_line, read_attachments, read_headers, read_tags
from sealwax.model.address import AddressError, Mailbox, parse_mailbox
from sealwax.model.duration import DurationError, format_duration, parse_duration
from sealwax.model.submission import Submission, TemplateRef
from sealwax.model.topics import Stream

__all__ = ["SubmissionError", "SubmissionLimits", "read_submission"]

SHORTEST_GIVE_UP: Final = timedelta(minutes=1)
LONGEST_GIVE_UP: Final = timedelta(days=7)
SUBJECT_CHARACTERS: Final = 998  # a line of RFC 5322 2.1.1; longer ones are no subject
TEMPLATE_ID_CHARACTERS: Final = 100
TEMPLATE_VERSIONS: Final = 2**31
_STREAMS = {str(stream): stream for stream in Stream}


@dataclass(frozen=True, slots=True)
class SubmissionLimits:
    """How large a submission may be.

    Attributes:
        max_bytes: Of the JSON. The default leaves room for key and headers in a record of Kafka's
            default `message.max.bytes` (1,048,588).
        max_recipients: In to, cc and bcc together.
    """

    max_bytes: int = 1_000_000
    max_recipients: int = 50


def read_submission(
    value: bytes | dict[str, Any],
    *,
    stream_of_topic: Stream | None,
    limits: SubmissionLimits,
    now_ms: int,
) -> Submission:
    """Reads and checks a submission.

    Args:
        value: The JSON object of POST /v1/emails, or what a JSON library made of it.
        stream_of_topic: For a record: the stream of its topic, which the value must not contradict.
        limits: Sizes.
        now_ms: Milliseconds since 1970; `scheduled_at` may not be later.

    Raises:
        SubmissionError: For whatever is wrong, the first thing found; nothing else is raised.
    """
    email = decode(value, limits.max_bytes)
    _check_count(email, limits.max_recipients)
    if email.scheduled_at is not None:
        _check_scheduled_at(email.scheduled_at, now_ms)
    template, data = _template_and_data(email)
    subject = _subject(email, template)
    _check_bodies(email, template)
    return Submission(
        author=_author(email.author),
        to=_mailboxes("to", email.to),
        cc=_mailboxes("cc", email.cc),
        bcc=_mailboxes("bcc", email.bcc),
        reply_to=_mailboxes("reply_to", email.reply_to),
        subject=subject,
        html=email.html,
        text=email.text,
        headers=read_headers(email.headers) if email.headers else (),
        attachments=read_attachments(email.attachments) if email.attachments else (),
        tags=read_tags(email.tags) if email.tags else (),
        stream=_stream(email.stream, stream_of_topic),
        give_up_after_ms=_give_up_after_ms(email.give_up_after),
        data=data,
        template=template,
    )


def _check_count(email: EmailJson, most: int) -> None:
    """Counts before any address is read, so that a long list costs nothing."""
    if not email.to and not isinstance(email.to, str):
        raise SubmissionError("to", "There is no recipient", "Give one address or a list of them")
    count = sum(
        len(field) if isinstance(field, list) else 1
        for field in (email.to, email.cc, email.bcc)
        if field is not None
    )
    if count > most:
        raise SubmissionError(
            "to",
            f"There are {count} recipients in to, cc and bcc; {most} is the most",
            "Send several emails, with POST /v1/emails/batch for instance",
        )
    if isinstance(email.reply_to, list) and len(email.reply_to) > most:
        raise SubmissionError(
            "reply_to", f"There are {len(email.reply_to)} addresses; {most} is the most", "Give one"
        )


def _author(text: str | None) -> Mailbox:
    if text is None:
        raise SubmissionError(
            "from", "The author is missing", "Write from as Ada <ada@your-domain.example>"
        )
    return _mailbox("from", text)


def _mailboxes(field: str, given: str | list[str] | None) -> tuple[Mailbox, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        return (_mailbox(field, given),)
    if len(given) == 1:
        return (_mailbox(f"{field}[0]", given[0]),)
    return tuple([_mailbox(f"{field}[{i}]", text) for i, text in enumerate(given)])


def _mailbox(field: str, text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise SubmissionError(
            field,
            f"The address {text[:80]!r} {error.problem}",
            "Write it as ada@example.com or Ada <ada@example.com>",
        ) from error


def _template_and_data(email: EmailJson) -> tuple[TemplateRef | None, dict[str, Any] | None]:
    if email.template is None:
        return None, email.data
    given = email.template
    if given.variables is not None and email.data is not None:
        raise SubmissionError(
            "data", "data and template.variables are the same thing", "Give one of them"
        )
    variables = given.variables if given.variables is not None else email.data or {}
    return _template(given, variables), variables


def _template(given: TemplateJson, variables: dict[str, Any]) -> TemplateRef:
    if not given.id or len(given.id) > TEMPLATE_ID_CHARACTERS or not given.id.isprintable():
        raise SubmissionError(
            "template.id",
            f"{given.id[:40]!a} cannot name a template"
            if given.id
            else "The name or id is missing",
            "Give the name that the template was stored under, or its id",
        )
    if given.version is not None and not 0 < given.version < TEMPLATE_VERSIONS:
        raise SubmissionError(
            "template.version",
            f"There is no version {str(given.version)[:24]}; the first is 1",
            "Leave it out to get the newest one",
        )
    return TemplateRef(id=given.id, version=given.version, variables=variables)


def _subject(email: EmailJson, template: TemplateRef | None) -> str | None:
    subject = email.subject
    if not subject:
        if template is not None:
            return None
        raise SubmissionError("subject", "The subject is missing or empty", "Give the email one")
    if len(subject) > SUBJECT_CHARACTERS:
        raise SubmissionError(
            "subject",
            f"The subject has {len(subject)} characters; {SUBJECT_CHARACTERS} is the most",
            "Shorten it",
        )
    return subject if subject.isprintable() else check_line("subject", subject)


def _check_bodies(email: EmailJson, template: TemplateRef | None) -> None:
    if template is None and not email.html and not email.text:
        raise SubmissionError(
            "html", "The email has no content", "Give html, text or both, or a template"
        )
    for field, body in (("html", email.html), ("text", email.text)):
        if body is not None and "\0" in body:
            raise SubmissionError(field, "The text contains the character U+0000", "Leave it out")
        if body is not None and template is not None:
            raise SubmissionError(
                field,
                f"The {field} comes from the template",
                f"Leave {field} out, or leave template out",
            )


def _check_scheduled_at(text: str, now_ms: int) -> None:
    try:
        due = datetime.fromisoformat(text)
    except ValueError as error:
        raise SubmissionError(
            "scheduled_at",
            f"{text[:40]!r} is not a time in ISO 8601; times in words are not yet available",
            "Write it like 2026-11-24T08:00:00Z, or leave it out to send now",
        ) from error
    if due.tzinfo is None:
        raise SubmissionError(
            "scheduled_at", f"{text[:40]!r} has no time zone", "Add Z or an offset such as +02:00"
        )
    if due.timestamp() * 1000 > now_ms:
        raise SubmissionError(
            "scheduled_at",
            "Sending at a later time is not yet available",
            "Leave scheduled_at out and send when it is due",
        )


def _stream(given: str | None, of_topic: Stream | None) -> Stream:
    if given is None:
        return of_topic or Stream.TRANSACTIONAL
    stream = _STREAMS.get(given)
    if stream is None:
        raise SubmissionError(
            "stream",
            f"{given[:40]!r} is not a stream",
            "Write transactional or marketing, or leave it out for transactional",
        )
    if of_topic is not None and stream is not of_topic:
        raise SubmissionError(
            "stream",
            f"The stream {stream} is not that of the record's topic, {of_topic}",
            f"Produce it to email.requested.{stream}, or leave stream out",
        )
    return stream


def _give_up_after_ms(text: str | None) -> int | None:
    if text is None:
        return None
    fix = (
        f"Write a duration from {format_duration(SHORTEST_GIVE_UP)} to "
        f"{format_duration(LONGEST_GIVE_UP)}, such as 15m, 24h or 2d"
    )
    try:
        duration = parse_duration(text)
    except DurationError as error:
        raise SubmissionError("give_up_after", f"{text[:40]!r} is not a duration", fix) from error
    if not SHORTEST_GIVE_UP <= duration <= LONGEST_GIVE_UP:
        raise SubmissionError("give_up_after", f"{text} is out of range", fix)
    return duration // timedelta(milliseconds=1)
