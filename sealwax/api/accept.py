"""Accepting emails: everything that can be found wrong is found before the append."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from connectors.log.port import Entry, Headers
from connectors.records import partition_of
from sealwax import clock
from sealwax.api.appends import Appends
from sealwax.api.ids import Ids
from sealwax.api.look_ups import LookUps
from sealwax.api.problems import DOMAIN_NOT_USABLE, Problem, ProblemError, problem_of
from sealwax.api.recent import RecentEmails
from sealwax.api.trial import PinnedTemplates, check_rendering
from sealwax.errors import NotConfirmedError, SealwaxError
from sealwax.mail.grant import grant
from sealwax.mail.submission import SubmissionLimits, read_submission
from sealwax.model.delivery import Position
from sealwax.model.email_id import accepted_at_ms
from sealwax.model.topics import Stream, requested
from sealwax.store.relational import Store

# A domain that was removed is refused after this.
_KEEP_S: Final = 5.0
_DOMAINS: Final = 10_000
# How long a batch keeps other requests waiting. By count it could not be said: one email takes
# 0.05 ms (bench/accept.py), one whose html fills the 8 MB of a rendering took 400 ms.
_SLICE_S: Final = 0.005
_TOPIC_OF: Final = {stream: requested(stream) for stream in Stream}


class Accepted(msgspec.Struct, frozen=True):
    """The answer to an email that was accepted.

    Attributes:
        id: UUIDv7, 36 characters.
    """

    id: str


class Refused(msgspec.Struct, frozen=True):
    """The answer to an email of a batch that was not accepted."""

    error: Problem


@dataclass(frozen=True, slots=True)
class Checked:
    """An email that may be appended, and the value of its record."""

    stream: Stream
    value: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    """A request to append."""

    email_id: str
    topic: str
    entry: Entry


class Acceptor:
    """Checks emails and appends their requests to the log."""

    def __init__(
        self,
        appends: Appends,
        partitions: Mapping[str, int],
        store: Store,
        recent: RecentEmails,
        limits: SubmissionLimits,
    ) -> None:
        """Takes the number of partitions by topic. Must be made on the event loop that calls it."""
        self._appends = appends
        self._grant_key = store.master_key.derive("grant")
        self._recent = recent
        self._ids = Ids()
        self._limits = limits
        self._partitions = partitions
        self._templates = PinnedTemplates(store, limits)
        self._usable: LookUps[tuple[str, str], bool] = LookUps(
            lambda key: store.usable_domain(*key) or None, keep_s=_KEEP_S, size=_DOMAINS
        )

    async def accept(self, tenant_id: str, body: bytes) -> Accepted:
        """Accepts an email; when this returns its request is durable.

        Raises:
            ProblemError, SubmissionError: It is refused, and nothing was appended.
            StorageFullError, LogClosedError, OSError: It could not be stored.
            NotConfirmedError: It may be stored.
            StoreAwayError: It could not be checked.
        """
        checked = await self.check(tenant_id, body)
        (email_id,) = self.new_ids(1)
        request = self._request(tenant_id, checked, email_id, ())
        (offset,) = await self._appends.append(request.topic, (request.entry,))
        self._remember(tenant_id, request, offset)
        return Accepted(email_id)

    async def accept_all(
        self, tenant_id: str, bodies: Sequence[bytes | msgspec.Raw]
    ) -> list[Accepted | Refused]:
        """Accepts what is good of a batch, with one append per topic; the answers in order.

        Raises:
            StorageFullError, LogClosedError, OSError: Nothing of it could be stored.
            NotConfirmedError: Nothing of it is known to be stored, and some may be.
            StoreAwayError: It could not be checked; nothing was appended.
        """
        checked = await self.check_all(tenant_id, bodies)
        ids = self.new_ids(len(checked))
        failed = await self.append(tenant_id, checked, ids)
        if failed and len(failed) == len(_streams(checked)):
            raise failure_of(checked, failed)
        return [
            one if isinstance(one, Refused) else _answer(email_id, failed.get(one.stream))
            for one, email_id in zip(checked, ids, strict=True)
        ]

    def new_ids(self, count: int) -> tuple[str, ...]:
        """Ids of emails that are accepted now."""
        now_ms = clock.now_ms()
        return tuple(self._ids.email(now_ms) for _ in range(count))

    async def check_all(
        self, tenant_id: str, bodies: Sequence[bytes | msgspec.Raw]
    ) -> list[Checked | Refused]:
        """Checks the emails of a batch, each alone; raises what is the server's fault."""
        checked: list[Checked | Refused] = []
        turn_ends = clock.monotonic() + _SLICE_S
        for body in bodies:
            if clock.monotonic() >= turn_ends:
                await asyncio.sleep(0)  # others have their turn
                turn_ends = clock.monotonic() + _SLICE_S
            checked.append(await self._check_or_refuse(tenant_id, bytes(body)))
        return checked

    async def append(
        self,
        tenant_id: str,
        checked: Sequence[Checked | Refused],
        ids: Sequence[str],
        headers: Headers = (),
    ) -> dict[Stream, Exception]:
        """Appends what was not refused, with one append per stream; durable when this returns.

        Args:
            tenant_id: Whose emails they are.
            checked: The emails.
            ids: The id of each, also of those that were refused.
            headers: Further headers of every record.

        Returns:
            What went wrong, by stream: nothing of it was appended, or it is not known.
        """
        by_stream: dict[Stream, list[_Request]] = defaultdict(list)
        for one, email_id in zip(checked, ids, strict=True):
            if isinstance(one, Checked):
                by_stream[one.stream].append(self._request(tenant_id, one, email_id, headers))
        failed: dict[Stream, Exception] = {}
        for stream, requests in by_stream.items():
            try:
                entries = [request.entry for request in requests]
                offsets = await self._appends.append(_TOPIC_OF[stream], entries)
            except (SealwaxError, OSError) as error:
                failed[stream] = error
                continue
            for request, offset in zip(requests, offsets, strict=True):
                self._remember(tenant_id, request, offset)
        return failed

    async def _check_or_refuse(self, tenant_id: str, body: bytes) -> Checked | Refused:
        try:
            return await self.check(tenant_id, body)
        except SealwaxError as error:
            problem = problem_of(error).problem
            if problem.status >= 500:  # noqa: PLR2004 - the server's fault, so of the whole batch
                raise
            return Refused(problem)

    async def check(self, tenant_id: str, body: bytes) -> Checked:
        """Whatever can be found wrong with an email.

        Raises:
            ProblemError, SubmissionError: It is refused.
            StoreAwayError: It could not be checked.
        """
        now_ms = clock.now_ms()
        submission = read_submission(body, stream_of_topic=None, limits=self._limits, now_ms=now_ms)
        domain = submission.author.domain
        if not await self._usable.get((tenant_id, domain)):
            raise _not_usable(domain)
        value = body
        template = None
        if submission.template is not None:
            template = await self._templates.find(tenant_id, submission.template)
            value = self._templates.pin(body, submission.template, template)
        if submission.data is not None:
            check_rendering(submission, template)
        return Checked(submission.stream, value)

    def _request(
        self, tenant_id: str, checked: Checked, email_id: str, headers: Headers
    ) -> _Request:
        now_ms = accepted_at_ms(email_id)
        topic = _TOPIC_OF[checked.stream]
        granted = grant(self._grant_key, email_id, tenant_id, now_ms, checked.value)
        own = (
            ("email-id", email_id.encode()),
            ("tenant", tenant_id.encode()),
            ("accepted-at", b"%d" % now_ms),
            ("grant", granted.encode()),
            *headers,
        )
        key = tenant_id.encode()
        entry = Entry(partition_of(key, self._partitions[topic]), key, checked.value, own)
        return _Request(email_id, topic, entry)

    def _remember(self, tenant_id: str, request: _Request, offset: int) -> None:
        position = Position(request.topic, request.entry.partition, offset)
        self._recent.add(tenant_id, request.email_id, position, clock.now_ms())


def failure_of(
    checked: Sequence[Checked | Refused], failed: Mapping[Stream, Exception]
) -> Exception:
    """What one answer says for a whole batch: nothing is stored, or some may be."""
    maybe = any(isinstance(error, NotConfirmedError) for error in failed.values())
    if maybe or len(failed) < len(_streams(checked)):
        return NotConfirmedError("a part of the batch may be stored")
    return next(iter(failed.values()))


def _streams(checked: Sequence[Checked | Refused]) -> set[Stream]:
    return {one.stream for one in checked if isinstance(one, Checked)}


def _answer(email_id: str, failed: Exception | None) -> Accepted | Refused:
    return Accepted(email_id) if failed is None else Refused(problem_of(failed).problem)


def _not_usable(domain: str) -> ProblemError:
    return ProblemError(
        DOMAIN_NOT_USABLE,
        f"Mail from {domain} is not yours to send. Add the domain by "
        f"`sealwax domains add {domain} --trusted`, or send from a domain that you have; "
        "GET /v1/domains lists them.",
        field="from",
    )
