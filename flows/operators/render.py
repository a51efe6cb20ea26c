"""Rendering: requests in, one signed message per recipient out, a batch at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from connectors.log.append import Outcome
from connectors.log.dead import dead_entry
from connectors.log.port import Entry
from connectors.log.settle import source_header
from connectors.log.source import SourceItem
from connectors.records import (
    encode_deliveries,
    event_row,
    iso,
    message_header,
    ready_place,
    wait_columns,
)
from flows.operators.intake import Intake, RejectedError, Request
from flows.operators.once import Decided
from sealwax.mail.dkim import sign_messages
from sealwax.mail.keyring import Keyring
from sealwax.mail.mime import compose_messages, draft
from sealwax.mail.render import ItemError, TemplateJob, render_templates
from sealwax.model.delivery import Delivery, Position
from sealwax.model.event import Cause, Kind, Wait
from sealwax.model.submission import Submission
from sealwax.model.tenant import TemplateVersion
from sealwax.model.topics import DEAD, EVENTS, Stream, ready
from sealwax.policy.idempotency import Duplicate

_FLOW = "render"
# A record of ours has 8 MiB on Kafka; a delay record has a row and its waits beside the message.
_MOST_MESSAGE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class RenderPorts:
    """What rendering looks up.

    Attributes:
        intake: Authenticates and reads requests.
        once: Requests that can come twice -> what becomes of each; see OncePerRequest.
        keyring: Signers of the tenants' domains.
        template: Tenant, template, version -> the template, or None.
        give_up_after_ms: Stream -> how long its mail is tried.
        partitions: Topic -> number of partitions.
        now_ms: The wall clock.
        large_domains: How many keys a domain's ready records have, where it is more than one.
    """

    intake: Intake
    once: Callable[[Sequence[Request]], Sequence[Decided]]
    keyring: Keyring
    template: Callable[[str, str, int | None], TemplateVersion | None]
    give_up_after_ms: Callable[[Stream], int]
    partitions: Callable[[str], int]
    now_ms: Callable[[], int]
    large_domains: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Work:
    """One request on its way through the steps; `rejected` or `duplicate` ends it."""

    item: SourceItem
    request: Request | None = None
    rejected: RejectedError | None = None
    duplicate: Duplicate | None = None
    messages: Sequence[bytes] = ()

    @property
    def open(self) -> bool:
        return self.rejected is None and self.duplicate is None

    def reject(self, reason: str, detail: str) -> None:
        request = self.request
        tenant_id, email_id = (request.tenant_id, request.email_id) if request else ("", "")
        self.rejected = RejectedError(reason, detail, tenant_id, email_id)


class RenderRequests:
    """Renders a batch: templates, MIME and signatures are one native call each.

    What was done of a request before a crash is not made again: everything in a message is a
    function of the email's id and the recipient's index.
    """

    def __init__(self, ports: RenderPorts) -> None:
        self._ports = ports

    def __call__(self, items: list[SourceItem]) -> list[Outcome]:
        """The outcome of each record."""
        works = [_Work(item) for item in items]
        for work in works:
            self._read(work)
        self._claim(works)
        self._fill_templates([work for work in works if work.open])
        self._make_messages([work for work in works if work.open])
        return [self._outcome(work) for work in works]

    def _read(self, work: _Work) -> None:
        try:
            work.request = self._ports.intake.read(work.item)
        except RejectedError as error:
            work.rejected = error

    def _claim(self, works: Sequence[_Work]) -> None:
        """Ends those that another record stands for; costs nothing where none can come twice."""
        repeatable = [(w, w.request) for w in works if w.request is not None and w.request.claim]
        if not repeatable:
            return
        decided = self._ports.once([request for _, request in repeatable])
        for (work, _), one in zip(repeatable, decided, strict=True):
            match one:
                case Request():
                    work.request = one
                case Duplicate():
                    work.duplicate = one
                case RejectedError():
                    work.rejected = one

    def _fill_templates(self, works: Sequence[_Work]) -> None:
        """Replaces subject, html and text by what they become with the request's data."""
        jobs: list[TemplateJob] = []
        waiting: list[tuple[_Work, Request]] = []
        for work in works:
            request = work.request
            if request is None or request.submission.data is None:
                continue
            job = self._template_job(work, request)
            if job is not None:
                jobs.append(job)
                waiting.append((work, request))
        for (work, request), rendered in zip(waiting, render_templates(jobs), strict=True):
            if isinstance(rendered, ItemError):
                work.reject(rendered.code, rendered.message)
            else:
                subject, html, text = rendered
                filled = replace(request.submission, subject=subject, html=html, text=text)
                work.request = replace(request, submission=filled)

    def _template_job(self, work: _Work, request: Request) -> TemplateJob | None:
        submission = request.submission
        data = submission.data_json or b"{}"
        if submission.template is None:
            return submission.subject, submission.html, submission.text, data
        name, version = submission.template.id, submission.template.version
        template = self._ports.template(request.tenant_id, name, version)
        if template is None:
            work.reject("unknown_template", f"there is no template {name!r} of that version")
            return None
        subject = submission.subject if submission.subject is not None else template.subject
        return subject, template.html, template.text, data

    def _make_messages(self, works: Sequence[_Work]) -> None:
        ready_to_sign = []
        drafts = []
        for work in works:
            request = work.request
            if request is None:
                continue
            domain = request.submission.author.domain
            signer = self._ports.keyring.signer(request.tenant_id, domain)
            if signer is None:
                work.reject("domain_not_usable", f"{domain} is no domain of this tenant any more")
                continue
            indexes = range(len(request.submission.recipients))
            drafts.append(
                draft(
                    request.submission,
                    email_id=request.email_id,
                    accepted_at_ms=request.accepted_at_ms,
                    rcpt_indexes=indexes,
                )
            )
            ready_to_sign.append((work, signer, request.accepted_at_ms // 1000))
        jobs = []
        for (work, signer, time_s), composed in zip(
            ready_to_sign, compose_messages(drafts), strict=True
        ):
            if isinstance(composed, ItemError):
                work.reject(composed.code, composed.message)
            elif (size := max(map(len, composed), default=0)) > _MOST_MESSAGE_BYTES:
                most = f"{_MOST_MESSAGE_BYTES:,} is the most"
                work.reject("too_large", f"the message has {size:,} bytes; {most}")
            else:
                jobs += [(work, message, signer, time_s) for message in composed]
        signed = sign_messages([(message, signer, time_s) for _, message, signer, time_s in jobs])
        for (work, *_), message in zip(jobs, signed, strict=True):
            if isinstance(message, ItemError):
                work.reject(message.code, message.message)
            else:
                work.messages = (*work.messages, message)

    def _outcome(self, work: _Work) -> Outcome:
        record = work.item.record
        source = Position(record.topic, record.partition, record.offset)
        if work.duplicate is not None:
            return Outcome(source, self._deduplication(work, work.duplicate, source))
        if work.rejected is not None or work.request is None:
            return Outcome(source, self._rejection(work, source))
        return Outcome(source, self._deliveries(work, work.request))

    def _deliveries(self, work: _Work, request: Request) -> tuple[tuple[str, Entry], ...]:
        submission, done = request.submission, work.item.done
        topic = ready(submission.stream)
        now_ms = self._ports.now_ms()
        deliveries = [
            self._delivery(request, index, message, now_ms)
            for index, message in enumerate(work.messages)
        ]
        values = encode_deliveries([(delivery, b"") for delivery in deliveries])
        waited = wait_columns([Wait(Cause.QUEUE, "", now_ms - request.accepted_at_ms)])
        entries = []
        for delivery, value in zip(deliveries, values, strict=True):
            index = delivery.rcpt_index
            headers = (("src", source_header(request.source, index)),)
            key = delivery.rcpt_domain.encode()
            if (topic, index) not in done:
                large, partitions = self._ports.large_domains, self._ports.partitions(topic)
                partition, ready_by = ready_place(delivery, large, partitions)
                named = (*headers, message_header(delivery))
                entries.append((topic, Entry(partition, ready_by, value, named)))
            if (EVENTS, index) not in done:
                facts = {"rcpts": len(deliveries), **waited}
                row = event_row(Kind.RENDERED, delivery, at_ms=now_ms, facts=facts)
                entries.append((EVENTS, Entry(request.source.partition, key, row, headers)))
        return tuple(entries)

    def _delivery(self, request: Request, index: int, message: bytes, now_ms: int) -> Delivery:
        submission = request.submission
        rcpt = submission.recipients[index]
        give_up_after_ms = submission.give_up_after_ms or self._ports.give_up_after_ms(
            submission.stream
        )
        return Delivery(
            email_id=request.email_id,
            rcpt_index=index,
            tenant_id=request.tenant_id,
            stream=submission.stream,
            reverse_path=f"bounces@{submission.author.domain}",
            rcpt=rcpt.address,
            rcpt_domain=rcpt.domain,
            accepted_at_ms=request.accepted_at_ms,
            give_up_at_ms=request.accepted_at_ms + give_up_after_ms,
            attempt=0,
            due_ms=0,
            not_before_ms=0,
            source_ip="",
            dkim_domain=submission.author.domain,
            template=_template_name(submission),
            tags=submission.tags,
            request=request.source,
            since_ms=now_ms,
            waits=(),
            message=message,
        )

    def _rejection(self, work: _Work, source: Position) -> tuple[tuple[str, Entry], ...]:
        record, done = work.item.record, work.item.done
        rejected = work.rejected or RejectedError("unreadable", "no reason is known", "", "")
        entries = []
        if (DEAD, None) not in done:
            headers = self._ports.intake.kept_headers(record, rejected)
            dead = dead_entry(
                record._replace(headers=headers),
                rejected.reason,
                rejected.detail,
                flow=_FLOW,
                tenant_id=rejected.tenant_id,
            )
            entries.append((DEAD, dead))
        if (EVENTS, None) not in done:
            row = {
                "tenant": rejected.tenant_id,
                "email_id": rejected.email_id,
                "at": iso(self._ports.now_ms()),
                "kind": Kind.REJECTED,
                "class": rejected.reason,
                "detail": rejected.detail,
                "request_topic": source.topic,
                "request_partition": source.partition,
                "request_offset": source.offset,
            }
            src = (("src", source_header(source)),)
            entry = Entry(source.partition, None, orjson.dumps(row), src)
            entries.append((EVENTS, entry))
        return tuple(entries)

    def _deduplication(
        self, work: _Work, duplicate: Duplicate, source: Position
    ) -> tuple[tuple[str, Entry], ...]:
        """A row at the email that is rendered instead, which says where that one's request is."""
        if (EVENTS, None) in work.item.done or work.request is None:
            return ()
        of = duplicate.of
        row = {
            "tenant": work.request.tenant_id,
            "email_id": duplicate.email_id,
            "at": iso(self._ports.now_ms()),
            "kind": Kind.DEDUPLICATED,
            "stream": work.request.submission.stream,
            "detail": f"the same request came again at {_text(source)}",
            "request_topic": of.topic,
            "request_partition": of.partition,
            "request_offset": of.offset,
        }
        headers = (("src", source_header(source)),)
        entry = Entry(source.partition, None, orjson.dumps(row), headers)
        return ((EVENTS, entry),)


def _text(position: Position) -> str:
    return f"{position.topic}/{position.partition}/{position.offset}"


def _template_name(submission: Submission) -> str:
    template = submission.template
    return f"{template.id}@{template.version}" if template else ""
