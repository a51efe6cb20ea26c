"""Requests that can stand in the log more than once: each is rendered once (R8)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from flows.operators.intake import RejectedError, Request
from sealwax.model.claim import email_claim
from sealwax.model.email_id import accepted_at_ms
from sealwax.policy.idempotency import Adopt, Duplicate, Fate, Render, TakeForRecord

# An append that the API repeats just before its claim expires may be stamped after that: the claim
# of an email lives longer by more than any append takes.
_LONGER_MS = 3_600_000

Decided = Request | Duplicate | RejectedError


class OncePerRequest:
    """Claims requests for the positions at which they stand.

    Guarantee: of several records of one request one is rendered, and after a crash the same one
    again. The claims of a batch are one transaction.
    """

    def __init__(
        self, claim: Callable[[Sequence[TakeForRecord]], Sequence[Fate]], keep_ms: int
    ) -> None:
        """Takes what stores claims, and how long an Idempotency-Key is kept."""
        self._claim = claim
        self._keep_ms = keep_ms

    def __call__(self, requests: Sequence[Request]) -> list[Decided]:
        """What becomes of each: itself, under another id where the API promised one for its key.

        Raises:
            StoreAwayError: The database did not answer.
        """
        decided, adopted = self._decide(requests)
        if adopted:
            again, _ = self._decide([request for _, request in adopted])
            for (index, _), one in zip(adopted, again, strict=True):
                decided[index] = one
        return decided

    def _decide(
        self, requests: Sequence[Request]
    ) -> tuple[list[Decided], list[tuple[int, Request]]]:
        """What becomes of each, and those that have to claim the id that the API gave."""
        fates = self._claim([self._wanted(request) for request in requests])
        decided: list[Decided] = []
        adopted: list[tuple[int, Request]] = []
        for index, (request, fate) in enumerate(zip(requests, fates, strict=True)):
            match fate:
                case Render():
                    decided.append(request)
                case Duplicate():
                    decided.append(fate)
                case Adopt(email_id):
                    decided.append(request)
                    adopted.append((index, _under(request, email_id)))
                case _:
                    decided.append(_used(request))
        return decided, adopted

    def _wanted(self, request: Request) -> TakeForRecord:
        of_key = bool(request.payload_hash)
        return TakeForRecord(
            name=request.claim,
            payload_hash=request.payload_hash,
            email_id=request.email_id,
            source=request.first,
            # A record that waited long may get an id from the API that is younger than itself.
            stamp_ms=max(request.stamp_ms, accepted_at_ms(request.email_id)),
            keep_ms=self._keep_ms if of_key else self._keep_ms + _LONGER_MS,
        )


def _under(request: Request, email_id: str) -> Request:
    return replace(
        request,
        email_id=email_id,
        accepted_at_ms=accepted_at_ms(email_id),
        claim=email_claim(email_id),
        payload_hash=b"",
    )


def _used(request: Request) -> RejectedError:
    return RejectedError(
        "idempotency_key_used",
        "its Idempotency-Key belongs to a request with another payload",
        request.tenant_id,
        request.email_id,
    )
