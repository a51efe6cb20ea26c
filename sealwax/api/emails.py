"""An email as the API shows it: what was asked for, and what became of it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from connectors.log.port import Log, Record, TopicPartition
from sealwax import clock
from sealwax.api.problems import ProblemError
from sealwax.api.recent import RecentEmails
from sealwax.api.trial import rendered
from sealwax.mail.submission import SubmissionError, SubmissionLimits, read_submission
from sealwax.model.delivery import Position
from sealwax.model.email_id import accepted_at_ms
from sealwax.model.event import TERMINAL, Kind
from sealwax.model.submission import Submission
from sealwax.model.timeline import Step, accepted, timeline
from sealwax.model.topics import Stream, requested
from sealwax.store.analytics.port import Analytics, AnalyticsAwayError, Row
from sealwax.store.relational import Store

_QUEUED: Final = "queued"
_VERDICTS: Final = TERMINAL | {Kind.DEFERRED}
# Of several reasons the one that says most: a refusal, time, our own failure, our own list.
_REASONS: Final = (Kind.BOUNCED, Kind.EXPIRED, Kind.FAILED, Kind.SUPPRESSED)
_STREAM_OF: Final = {requested(stream): stream for stream in Stream}


class Tag(msgspec.Struct, frozen=True):
    """A tag of an email."""

    name: str
    value: str


class UsedTemplate(msgspec.Struct, frozen=True):
    """The template that an email was made from."""

    id: str
    version: int | None


class RecipientView(msgspec.Struct, frozen=True):
    """One recipient, and what became of the email for it.

    Attributes:
        address: As in RCPT TO.
        verdict: queued (before the first attempt), deferred (tried again later), delivered,
            bounced, expired, suppressed or failed; null where the whole request was rejected.
        reply: What the receiving server answered last: `250 2.0.0 OK`; null before.
    """

    address: str
    verdict: str | None
    reply: str | None


class EmailView(msgspec.Struct, frozen=True, kw_only=True):
    """An email.

    Attributes:
        id: UUIDv7.
        status: queued, sending, delivered, partially_delivered, bounced, expired, suppressed,
            failed or rejected.
        created_at: When it was accepted.
        subject: As the recipients get it; so are `html` and `text`.
        body_note: Why subject, html and text are null, where they are; null otherwise.
        recipients: Each address of to, cc and bcc once, in this order.
    """

    object: str = "email"
    id: str
    status: str
    created_at: str
    author: str | None = msgspec.field(name="from")
    to: list[str] | None
    cc: list[str] | None
    bcc: list[str] | None
    reply_to: list[str] | None
    subject: str | None
    html: str | None
    text: str | None
    body_note: str | None
    stream: str | None
    template: UsedTemplate | None
    tags: list[Tag]
    recipients: list[RecipientView]


class EmailReader:
    """Reads emails from events and log. Its methods block."""

    def __init__(self, log: Log, store: Store, analytics: Analytics, recent: RecentEmails) -> None:
        self._log = log
        self._store = store
        self._analytics = analytics
        self._recent = recent
        self._limits = SubmissionLimits()

    def email(self, tenant_id: str, email_id: str) -> EmailView | None:
        """The tenant's email, or None where nothing is known of it yet.

        Raises:
            AnalyticsAwayError: Events cannot be read, and it is none of the last minutes.
        """
        position = self._recent.find(tenant_id, email_id, clock.now_ms())
        rows = self._rows(tenant_id, email_id, known=position is not None)
        if not rows and position is None:
            return None
        request = self._submission(tenant_id, email_id, position or _position(rows))
        return self._view(tenant_id, email_id, request, rows)

    def timeline(self, tenant_id: str, email_id: str) -> list[Step] | None:
        """The steps of the tenant's email, or None; raises what `email` raises."""
        known = self._recent.find(tenant_id, email_id, clock.now_ms()) is not None
        rows = self._rows(tenant_id, email_id, known=known)
        if rows:
            return timeline(rows)
        return [accepted(accepted_at_ms(email_id))] if known else None

    def _rows(self, tenant_id: str, email_id: str, *, known: bool) -> list[Row]:
        try:
            return self._analytics.rows_of_email(tenant_id, email_id)
        except AnalyticsAwayError:
            if known:
                return []
            raise

    def _submission(
        self, tenant_id: str, email_id: str, position: Position | None
    ) -> Submission | None:
        record = None if position is None else self._record(position)
        if record is None or record.value is None:
            return None
        if not _is_request_of(record, tenant_id, email_id):
            return None  # the log was made anew since
        try:
            return read_submission(
                record.value,
                stream_of_topic=_STREAM_OF[record.topic],
                limits=self._limits,
                now_ms=record.stamp_ms,
            )
        except SubmissionError:
            return None  # a foreign producer's; it was rejected

    def _record(self, position: Position) -> Record | None:
        tp = TopicPartition(position.topic, position.partition)
        try:
            return next(self._log.scan(tp, position.offset, position.offset + 1), None)
        except KeyError:
            return None

    def _view(
        self, tenant_id: str, email_id: str, request: Submission | None, rows: Sequence[Row]
    ) -> EmailView:
        recipients = _recipients(request, rows)
        subject, html, text, note = self._content(tenant_id, request)
        template = request.template if request else None
        return EmailView(
            id=email_id,
            status=_status(recipients, rows),
            created_at=str(accepted(accepted_at_ms(email_id))["at"]),
            author=str(request.author) if request else None,
            to=[str(m) for m in request.to] if request else None,
            cc=[str(m) for m in request.cc] if request else None,
            bcc=[str(m) for m in request.bcc] if request else None,
            reply_to=[str(m) for m in request.reply_to] if request else None,
            subject=subject,
            html=html,
            text=text,
            body_note=note,
            stream=str(request.stream) if request else _any(rows, "stream"),
            template=UsedTemplate(template.id, template.version) if template else None,
            tags=[Tag(name, value) for name, value in request.tags] if request else [],
            recipients=recipients,
        )

    def _content(
        self, tenant_id: str, request: Submission | None
    ) -> tuple[str | None, str | None, str | None, str | None]:
        """Subject, html, text, and why there are none."""
        if request is None:
            return None, None, None, "The log no longer holds the request of this email."
        template = None
        if request.template is not None:
            wanted = request.template
            template = self._store.template(tenant_id, wanted.id, wanted.version)
            if template is None:
                return None, None, None, "The template of this email is gone."
        try:
            return *rendered(request, template), None
        except ProblemError as error:
            return None, None, None, str(error)


def _is_request_of(record: Record, tenant_id: str, email_id: str) -> bool:
    headers = dict(record.headers)
    if "grant" in headers:
        named = (headers.get("tenant"), headers.get("email-id"))
        return named == (tenant_id.encode(), email_id.encode())
    # A foreign producer's headers say nothing; the time in its id is the record's stamp.
    return accepted_at_ms(email_id) == record.stamp_ms


def _position(rows: Sequence[Row]) -> Position | None:
    for row in rows:
        if row.get("request_topic"):
            return Position(
                row["request_topic"], int(row["request_partition"]), int(row["request_offset"])
            )
    return None


def _recipients(request: Submission | None, rows: Sequence[Row]) -> list[RecipientView]:
    addresses = dict(enumerate(m.address for m in request.recipients)) if request else {}
    last: dict[int, Row] = {}
    for row in rows:
        if not row["rcpt"]:
            continue  # a rejected request
        addresses.setdefault(int(row["rcpt_index"]), row["rcpt"])
        index = int(row["rcpt_index"])
        if row["kind"] in _VERDICTS and _outranks(row, last.get(index)):
            last[index] = row
    before = None if _is_rejected(rows) else _QUEUED
    return [_recipient(addresses[index], last.get(index), before) for index in sorted(addresses)]


def _outranks(row: Row, known: Row | None) -> bool:
    """Whether a row says more than an earlier one.

    The first final verdict stands whatever a doubled attempt says after it; only a delivery, once
    it happened, is true whenever it is said.
    """
    if known is None or known["kind"] not in TERMINAL:
        return True
    return bool(row["kind"] == Kind.DELIVERED != known["kind"])


def _is_rejected(rows: Sequence[Row]) -> bool:
    return any(row["kind"] == Kind.REJECTED for row in rows)


def _recipient(address: str, last: Row | None, before: str | None) -> RecipientView:
    """One recipient; `before` is its verdict where there is no row of an attempt."""
    if last is None:
        return RecipientView(address, before, None)
    said = " ".join(str(last[k]) for k in ("code", "status", "reply") if last.get(k))
    return RecipientView(address, str(last["kind"]), said or str(last.get("detail") or "") or None)


def _status(recipients: Sequence[RecipientView], rows: Sequence[Row]) -> str:
    if _is_rejected(rows):
        return "rejected"
    if not rows:
        return _QUEUED
    verdicts = [recipient.verdict for recipient in recipients]
    expected = max((int(row["rcpts"]) for row in rows), default=0)
    if len(verdicts) < expected or not verdicts or not all(v in TERMINAL for v in verdicts):
        return "sending"
    found = set(verdicts)
    if found == {Kind.DELIVERED}:
        return "delivered"
    if Kind.DELIVERED in found:
        return "partially_delivered"
    return next(str(k) for k in _REASONS if k in found)


def _any(rows: Sequence[Row], column: str) -> str | None:
    return next((str(row[column]) for row in rows if row.get(column)), None)
