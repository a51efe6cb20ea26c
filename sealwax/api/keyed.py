"""Requests with an Idempotency-Key: each is accepted once, however often it is sent (R8)."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from connectors.log.port import Headers
from sealwax.api.accept import Accepted, Acceptor, Checked, Refused, failure_of
from sealwax.api.claims import Claims
from sealwax.api.problems import (
    CONCURRENT_IDEMPOTENT_REQUESTS,
    INVALID_IDEMPOTENCY_KEY,
    INVALID_IDEMPOTENT_REQUEST,
    ProblemError,
)
from sealwax.mail.submission import SubmissionError
from sealwax.model.claim import MOST_KEY_CHARACTERS, is_idempotency_key, key_claim
from sealwax.policy.idempotency import (
    CONCURRENT_MS,
    Answered,
    Append,
    Concurrent,
    Finish,
    GiveUp,
    OtherPayload,
    Take,
    Unclaimed,
)
from sealwax.store.relational import StoreAwayError

# Tells render that the request may stand in the log more than once.
REPEATABLE: Final[Headers] = (("repeatable", b"1"),)
# Hashing so much takes a millisecond, in which nobody else is answered.
_LARGE_BYTES: Final = 512 * 1024
_encode: Final = msgspec.json.Encoder().encode
logger = structlog.get_logger(__name__)


class KeyedAcceptor:
    """Accepts emails under a key; answers a repeat as it answered the first time.

    A key is claimed durably, with the ids of its emails, before anything is appended. A process
    that dies in between leaves a claim that the next repeat takes over with the same ids, and
    render renders each id once. A refusal claims nothing: the request may be mended and sent again
    under its key.
    """

    def __init__(self, acceptor: Acceptor, claims: Claims, keep_ms: int) -> None:
        """Takes how long a key is kept. Must be made on the event loop that calls it."""
        self._acceptor = acceptor
        self._claims = claims
        self._keep_ms = keep_ms
        self._running: set[asyncio.Task[bytes]] = set()

    async def accept(self, tenant_id: str, key: str, body: bytes) -> bytes:
        """Accepts an email; the body of the answer.

        Raises:
            ProblemError, SubmissionError: It is refused, also for what its key was used for.
            StorageFullError, LogClosedError, OSError: It could not be stored.
            NotConfirmedError: It may be stored; a repeat appends it with the same id.
            StoreAwayError: It could not be checked, or its key not be claimed.
        """
        return await self._to_its_end(self._accept(key_claim(tenant_id, key), tenant_id, body))

    async def accept_all(
        self, tenant_id: str, key: str, body: bytes, emails: Sequence[msgspec.Raw]
    ) -> bytes:
        """Accepts what is good of a batch; the body of the answer.

        Raises:
            ProblemError: Its key was used for something else.
            StorageFullError, LogClosedError, OSError: Nothing of it could be stored.
            NotConfirmedError: A part of it may be stored. Sent again, the batch is completed.
            StoreAwayError: It could not be checked, or its key not be claimed.
        """
        name = key_claim(tenant_id, key)
        return await self._to_its_end(self._accept_all(name, tenant_id, body, emails))

    async def _to_its_end(self, accepting: Coroutine[Any, Any, bytes]) -> bytes:
        """A client that gives up and repeats is to find its answer, not half a request."""
        task = asyncio.create_task(accepting)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _accept(self, name: str, tenant_id: str, body: bytes) -> bytes:
        digest = await _sha256(body)
        try:
            checked = await self._acceptor.check(tenant_id, body)
        except (ProblemError, SubmissionError):
            known = await self._claims.look(name, digest)
            if isinstance(known, Unclaimed):
                raise
            return _replayed(known)
        return await self._once(
            name, digest, tenant_id, [checked], lambda ids: _encode(Accepted(ids[0]))
        )

    async def _accept_all(
        self, name: str, tenant_id: str, body: bytes, emails: Sequence[msgspec.Raw]
    ) -> bytes:
        digest = await _sha256(body)
        checked = await self._acceptor.check_all(tenant_id, emails)

        def answer(ids: Sequence[str]) -> bytes:
            each = zip(checked, ids, strict=True)
            data = [one if isinstance(one, Refused) else Accepted(ident) for one, ident in each]
            return _encode({"data": data})

        if all(isinstance(one, Refused) for one in checked):
            known = await self._claims.look(name, digest)
            return answer([""] * len(checked)) if isinstance(known, Unclaimed) else _replayed(known)
        return await self._once(name, digest, tenant_id, checked, answer)

    async def _once(
        self,
        name: str,
        digest: bytes,
        tenant_id: str,
        checked: Sequence[Checked | Refused],
        answer: Callable[[Sequence[str]], bytes],
    ) -> bytes:
        ids = self._acceptor.new_ids(len(checked))
        taken = await self._claims.take(Take(name, digest, ids, self._keep_ms))
        if not isinstance(taken, Append):
            return _replayed(taken)
        ids = taken.email_ids
        failed = await self._acceptor.append(tenant_id, checked, ids, REPEATABLE)
        if failed:
            await self._close(GiveUp(name, ids))
            raise failure_of(checked, failed)
        body = answer(ids)
        await self._close(Finish(name, ids, body))
        return body

    async def _close(self, claim: Finish | GiveUp) -> None:
        try:
            await self._claims.close(claim)
        except StoreAwayError as error:
            # The claim stays as it is: a repeat appends again, and render drops what comes twice.
            logger.warning("claim not closed", error=str(error))


def idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """The key of a request, or None.

    Raises:
        ProblemError: 400, it cannot be one.
    """
    key = headers.get(b"idempotency-key")
    if key is None:
        return None
    if not is_idempotency_key(key):
        raise ProblemError(
            INVALID_IDEMPOTENCY_KEY,
            f"The header Idempotency-Key must have 1 to {MOST_KEY_CHARACTERS} characters, all of "
            "them printable ASCII. Send a UUID, or what names the request, such as order-17.",
        )
    return key.decode("ascii")


def _replayed(known: Answered | Concurrent | OtherPayload) -> bytes:
    """The first answer; raises ProblemError, 409, where there is none for this request."""
    match known:
        case Answered(email_ids, answer):
            # A producer's record has no answer: its one id says it.
            return _encode(Accepted(email_ids[0])) if answer is None else answer
        case Concurrent():
            raise ProblemError(
                CONCURRENT_IDEMPOTENT_REQUESTS,
                "The same request is being accepted. Send it again in a second, at most for "
                f"{CONCURRENT_MS // 1000} s; it is accepted once.",
            )
        case OtherPayload():
            raise ProblemError(
                INVALID_IDEMPOTENT_REQUEST,
                "The key belongs to a request with another body. Send that body unchanged, or use "
                "a new key for this one.",
            )


async def _sha256(body: bytes) -> bytes:
    if len(body) > _LARGE_BYTES:
        return await asyncio.to_thread(lambda: hashlib.sha256(body).digest())
    return hashlib.sha256(body).digest()
