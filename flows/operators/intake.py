"""Reading requested records: who sent them, and what they ask for."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from connectors.log.dead import API_KEY, header, renamed
from connectors.log.port import Headers, Record
from connectors.log.settle import FIRST_POSITION, parse_source_header
from connectors.log.source import SourceItem
from connectors.log.suspects import CRASHED, CRASHED_DETAIL
from sealwax.mail.grant import grant, grant_holds
from sealwax.mail.submission import SubmissionError, SubmissionLimits, read_submission
from sealwax.model.claim import email_claim, is_idempotency_key, key_claim
from sealwax.model.delivery import Position
from sealwax.model.email_id import accepted_at_ms, email_id
from sealwax.model.submission import Submission
from sealwax.model.topics import STREAMS, requested

_TENANT = "tenant"
_REPEATABLE = "repeatable"
_IDEMPOTENCY_KEY = "idempotency-key"
# What only we write into a record: a producer's own would be believed after a replay.
_OURS = frozenset({FIRST_POSITION, _REPEATABLE})
_TIME = re.compile(r"[0-9]{1,15}")
_STREAM_OF = {requested(stream): stream for stream in STREAMS}


class RejectedError(Exception):
    """A request that cannot be processed.

    Attributes:
        reason: A short stable word for `email.dead`.
        detail: A sentence.
        tenant_id: Its owner, or empty where that is not certain.
        email_id: Its id.
    """

    def __init__(self, reason: str, detail: str, tenant_id: str, email_id: str) -> None:
        super().__init__(reason, detail, tenant_id, email_id)
        self.reason = reason
        self.detail = detail
        self.tenant_id = tenant_id
        self.email_id = email_id


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose sender is known and whose fields are right.

    Attributes:
        source: Its record.
        first: Where it was read first, if it was given back to its topic since; else `source`.
        stamp_ms: When that was appended.
        email_id: The API's, or one made of its place in the log.
        tenant_id: Whose it is.
        accepted_at_ms: When it was accepted.
        submission: What it asks for.
        claim: What must be claimed before it is rendered, since it can stand in the log more than
            once; empty where it cannot.
        payload_hash: SHA-256 of the value, where the claim is a producer's key; else empty.
    """

    source: Position
    first: Position
    stamp_ms: int
    email_id: str
    tenant_id: str
    accepted_at_ms: int
    submission: Submission
    claim: str
    payload_hash: bytes


class Intake:
    """Authenticates and reads requests, our own and those of any Kafka producer."""

    def __init__(
        self,
        grant_key: bytes,
        tenant_of_key: Callable[[str], str | None],
        incarnation: Callable[[str], str],
        limits: SubmissionLimits,
        trusted_tenant: Callable[[str], bool] | None = None,
    ) -> None:
        """Takes what requests are checked against.

        Args:
            grant_key: Key of the grants.
            tenant_of_key: API key -> its tenant's id; None for one that is not in force.
            incarnation: Topic -> its incarnation.
            limits: Of a submission.
            trusted_tenant: Where the topic's ACLs say who may produce: whether there is a tenant of
                that id. Without it a producer's `tenant` header counts for nothing.
        """
        self._grant_key = grant_key
        self._tenant_of_key = tenant_of_key
        self._incarnation = incarnation
        self._limits = limits
        self._trusted_tenant = trusted_tenant

    def read(self, item: SourceItem) -> Request:
        """The request of a record.

        Raises:
            RejectedError: It says why, for `email.dead` and the sender.
        """
        record = item.record
        if item.crashed:
            raise self._crashed(record)
        if record.unreadable:
            detail = f"it cannot be read, and its value was not kept: {record.unreadable}"
            raise RejectedError("unreadable_batch", detail, "", self._foreign_id(record))
        source = Position(record.topic, record.partition, record.offset)
        granted = self._granted(record)
        ident, tenant_id, accepted_at_ms = granted or self._of_producer(record)
        try:
            submission = read_submission(
                record.value or b"",
                stream_of_topic=_STREAM_OF[record.topic],
                limits=self._limits,
                now_ms=record.stamp_ms,
            )
        except SubmissionError as error:
            raise RejectedError("bad_request", str(error), tenant_id, ident) from error
        # A producer's record that is replayed has a grant by now, and its key still counts.
        claim, payload_hash = _claim_of_producer(record, tenant_id, ident)
        if not claim and granted and header(record.headers, _REPEATABLE) is not None:
            claim = email_claim(ident)
        return Request(
            source=source,
            first=source if granted is None else _first_position(record.headers) or source,
            stamp_ms=record.stamp_ms,
            email_id=ident,
            tenant_id=tenant_id,
            accepted_at_ms=accepted_at_ms,
            submission=submission,
            claim=claim,
            payload_hash=payload_hash,
        )

    def kept_headers(self, record: Record, rejected: RejectedError) -> Headers:
        """The record's headers as `email.dead` keeps them.

        An API key is not kept. Where the sender is known, a grant stands in its place, so that the
        record can be processed again, and what only we may say of it then is renamed.
        """
        if not rejected.tenant_id or self._granted(record):
            return record.headers
        ident, tenant_id = rejected.email_id, rejected.tenant_id
        at_ms = accepted_at_ms(ident)
        claim = grant(self._grant_key, ident, tenant_id, at_ms, record.value or b"")
        return (
            *(h for h in renamed(record.headers, _OURS) if h[0].lower() != API_KEY),
            ("email-id", ident.encode()),
            ("tenant", tenant_id.encode()),
            ("accepted-at", str(at_ms).encode()),
            ("grant", claim.encode()),
        )

    def _crashed(self, record: Record) -> RejectedError:
        """The rejection of a record whose value must not be read any more."""
        try:
            ident, tenant_id, _ = self._granted(record) or self._of_producer(record)
        except RejectedError as error:
            ident, tenant_id = error.email_id, error.tenant_id
        return RejectedError(CRASHED, CRASHED_DETAIL, tenant_id, ident)

    def _granted(self, record: Record) -> tuple[str, str, int] | None:
        """Id, tenant and time of a record that sealwax itself appended; None for any other."""
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
        claimed = headers.get("grant")
        # Anyone may have written these: int() also takes other digits, and fails on thousands.
        if claimed is None or not _TIME.fullmatch(headers.get("accepted-at", "")):
            return None
        ident, tenant_id = headers.get("email-id", ""), headers.get("tenant", "")
        accepted_at_ms = int(headers["accepted-at"])
        value = record.value or b""
        holds = grant_holds(self._grant_key, ident, tenant_id, accepted_at_ms, value, claimed)
        return (ident, tenant_id, accepted_at_ms) if holds else None

    def _of_producer(self, record: Record) -> tuple[str, str, int]:
        """The same of any other record. Raises RejectedError: its sender is not known."""
        ident = self._foreign_id(record)
        tenant_id = None
        if named := _values(record, API_KEY):
            tenant_id = self._tenant_of_key(named[0])
            problem = "the api-key header holds no key in force: it is unknown, or was revoked"
        elif self._trusted_tenant and (named := _values(record, _TENANT)):
            tenant_id = named[0] if self._trusted_tenant(named[0]) else None
            problem = "the tenant header names no tenant of this installation"
        else:
            problem = "the record has neither a valid grant nor an api-key header"
        if len(named) > 1:
            tenant_id, problem = None, "it has several api-key or tenant headers that differ"
        if tenant_id is None:
            raise RejectedError("unauthenticated", problem, "", ident)
        return ident, tenant_id, record.stamp_ms

    def _foreign_id(self, record: Record) -> str:
        """The same id each time that the record is read: its stamp, and its place in the log."""
        place = f"{self._incarnation(record.topic)}/{record.partition}/{record.offset}"
        return email_id(record.stamp_ms, hashlib.sha256(place.encode()).digest())


def _values(record: Record, name: str) -> list[str]:
    """What a producer's headers of that name say, each once.

    Whoever spells a name as in HTTP must not be refused for it, nor sent twice.
    """
    found = (v.decode("utf-8", "replace") for k, v in record.headers if k.lower() == name)
    return list(dict.fromkeys(found))


def _first_position(headers: Headers) -> Position | None:
    named = header(headers, FIRST_POSITION)
    parsed = parse_source_header(named) if named else None
    return parsed[0] if parsed else None


def _claim_of_producer(record: Record, tenant_id: str, email_id: str) -> tuple[str, bytes]:
    """The claim of a producer's Idempotency-Key and the payload's hash; empty without a key."""
    keys = _values(record, _IDEMPOTENCY_KEY)
    if not keys:
        return "", b""
    if len(keys) > 1 or not is_idempotency_key(keys[0].encode()):
        detail = "Idempotency-Key: it must be one, of 1 to 256 characters of printable ASCII"
        raise RejectedError("bad_request", detail, tenant_id, email_id)
    return key_claim(tenant_id, keys[0]), hashlib.sha256(record.value or b"").digest()
