"""Errors as problem details (RFC 9457): each names the field and says what to do."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from typing_extensions import override

from sealwax.errors import LogClosedError, NotConfirmedError, SealwaxError, StorageFullError
from sealwax.mail.submission import SubmissionError
from sealwax.store.analytics.port import AnalyticsAwayError
from sealwax.store.relational import StoreAwayError

MEDIA_TYPE: Final = "application/problem+json"
logger = structlog.get_logger(__name__)


class ProblemType(msgspec.Struct, frozen=True):
    """A kind of problem; its URI is `/problems/<slug>`, which stays for good.

    Attributes:
        slug: Last part of the URI.
        status: HTTP status.
        title: The same for every problem of the kind.
        retry_after_s: For the header Retry-After; None where trying again does not help.
    """

    slug: str
    status: HTTPStatus
    title: str
    retry_after_s: int | None = None


def _type(
    status: HTTPStatus, slug: str, title: str, retry_after_s: int | None = None
) -> ProblemType:
    return ProblemType(slug, status, title, retry_after_s)


INVALID_JSON = _type(HTTPStatus.BAD_REQUEST, "invalid-json", "The body is not valid JSON")
BAD_REQUEST = _type(HTTPStatus.BAD_REQUEST, "bad-request", "The request cannot be read")
INVALID_IDEMPOTENCY_KEY = _type(
    HTTPStatus.BAD_REQUEST, "invalid-idempotency-key", "The Idempotency-Key cannot be taken"
)
UNAUTHENTICATED = _type(HTTPStatus.UNAUTHORIZED, "unauthenticated", "A valid API key is missing")
DOMAIN_NOT_USABLE = _type(
    HTTPStatus.FORBIDDEN, "domain-not-usable", "The From domain is none of yours"
)
NOT_FOUND = _type(HTTPStatus.NOT_FOUND, "not-found", "There is no such thing")
# Its row may be on its way, so a second look may help.
EMAIL_NOT_FOUND = _type(HTTPStatus.NOT_FOUND, "email-not-found", "There is no such email", 2)
METHOD_NOT_ALLOWED = _type(
    HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not take this method"
)
BODY_TOO_SLOW = _type(
    HTTPStatus.REQUEST_TIMEOUT, "body-too-slow", "The body did not arrive in time"
)
INVALID_IDEMPOTENT_REQUEST = _type(
    HTTPStatus.CONFLICT,
    "invalid-idempotent-request",
    "The Idempotency-Key was used with another payload",
)
# A second suffices where the first request is answered, and is soon over where its process died.
CONCURRENT_IDEMPOTENT_REQUESTS = _type(
    HTTPStatus.CONFLICT,
    "concurrent-idempotent-requests",
    "The first request with this Idempotency-Key is still under way",
    1,
)
TOO_LARGE = _type(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The request is too large")
UNSUPPORTED_MEDIA_TYPE = _type(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is not JSON"
)
INVALID_FIELD = _type(
    HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-field", "A field has a value that cannot be taken"
)
MISSING_VARIABLE = _type(
    HTTPStatus.UNPROCESSABLE_ENTITY,
    "missing-variable",
    "The template needs a variable that data does not have",
)
INVALID_TEMPLATE = _type(
    HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-template", "The template cannot be rendered"
)
UNKNOWN_TEMPLATE = _type(
    HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-template", "There is no such template"
)
INTERNAL_ERROR = _type(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "The request failed on our side"
)
STORAGE_FULL = _type(
    HTTPStatus.SERVICE_UNAVAILABLE, "storage-full", "The disk is full; nothing was accepted", 30
)
LOG_AWAY = _type(
    HTTPStatus.SERVICE_UNAVAILABLE, "log-away", "Mail cannot be stored now; nothing was accepted", 5
)
NOT_CONFIRMED = _type(
    HTTPStatus.GATEWAY_TIMEOUT, "not-confirmed", "It is not known whether the mail was accepted"
)
BUSY = _type(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "There is no room for the request now", 2)
STORE_AWAY = _type(HTTPStatus.SERVICE_UNAVAILABLE, "store-away", "Accounts cannot be read now", 2)
EVENTS_AWAY = _type(HTTPStatus.SERVICE_UNAVAILABLE, "events-away", "Events cannot be read now", 2)
NOT_READY = _type(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "The platform is not ready", 1)

ALL: Final = {found.slug: found for found in globals().values() if isinstance(found, ProblemType)}


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field.

    Attributes:
        field: Where, as in the request: `to[2]`, `attachments[0].content`.
        detail: What is wrong, and what to do.
    """

    field: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error, RFC 9457.

    Attributes:
        type: URI of the kind of problem, relative to the API.
        title: The same for every problem of the kind.
        status: HTTP status.
        detail: What is wrong here, and what to do.
        errors: By field, where a field is at fault.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldProblem, ...] = ()


class ProblemError(SealwaxError):
    """A request that is answered by a problem.

    Attributes:
        problem: The body.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        field: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind, detail, field)
        errors = (FieldProblem(field, detail),) if field else ()
        self.problem = Problem(
            f"/problems/{kind.slug}", kind.title, int(kind.status), detail, errors
        )
        self.headers = dict(headers or {})
        if kind.retry_after_s is not None:
            self.headers["Retry-After"] = str(kind.retry_after_s)

    @override
    def __str__(self) -> str:
        return self.problem.detail


_BY_STATUS: Final = {400: INVALID_JSON, 413: TOO_LARGE, 422: INVALID_FIELD}
_UNAVAILABLE: Final[Mapping[type[Exception], tuple[ProblemType, str]]] = {
    StorageFullError: (
        STORAGE_FULL,
        "The disk is full or its reserve is reached. Free some room, then try again.",
    ),
    LogClosedError: (LOG_AWAY, "The platform is stopping. Try again in a moment."),
    NotConfirmedError: (
        NOT_CONFIRMED,
        "It may be stored, and is sent then. Repeat it with its Idempotency-Key, or look for it.",
    ),
    StoreAwayError: (STORE_AWAY, "The database did not answer. Try again in a moment."),
    AnalyticsAwayError: (
        EVENTS_AWAY,
        "Events are not readable now; mail is sent all the same. Try again in a moment.",
    ),
}


def problem_of(error: Exception) -> ProblemError:
    """The problem that says what an exception means to the client.

    An unknown one becomes `internal-error`, whose text says nothing of its cause.
    """
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, SubmissionError):
        detail = f"{error.detail}. {error.fix}."
        return ProblemError(_BY_STATUS[error.status], detail, field=error.field)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, OSError):
        return ProblemError(LOG_AWAY, "The log cannot be written or read. Try again in a moment.")
    kind, detail = _UNAVAILABLE.get(
        type(error),
        (INTERNAL_ERROR, "The cause is in the log of the API. Try again later."),
    )
    return ProblemError(kind, detail)


def _of_framework(error: HTTPException) -> ProblemError:
    if isinstance(error, NotFoundException):
        return ProblemError(NOT_FOUND, "Nothing is at this path. /openapi.json lists what is.")
    if isinstance(error, MethodNotAllowedException):
        allow = (error.headers or {}).get("allow", "")
        return not_allowed(allow)
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProblemError(INTERNAL_ERROR, "The cause is in the log of the API. Try again later.")
    return ProblemError(BAD_REQUEST, f"{error.detail}. /openapi.json says what is expected.")


def not_allowed(allow: str) -> ProblemError:
    """405 for a path that takes the methods in `allow`."""
    return ProblemError(
        METHOD_NOT_ALLOWED, f"The path takes {allow}. Use one of them.", headers={"Allow": allow}
    )


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's handler of every exception."""
    refused = problem_of(error)
    if refused.problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error(
            "request failed",
            request_id=request.scope["state"].get("request_id"),
            method=request.method,
            path=request.url.path,
            exc_info=error,
        )
    return Response(
        msgspec.json.encode(refused.problem),
        status_code=refused.problem.status,
        headers=refused.headers,
        media_type=MEDIA_TYPE,
    )
