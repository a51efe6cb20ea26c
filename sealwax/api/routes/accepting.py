"""POST /v1/emails and /v1/emails/batch.

Handlers below Litestar's request and response objects, which would cost as much as all the rest of
an accept: bench/accept.py.
"""

from collections.abc import Awaitable, Callable
from typing import Final, cast

import msgspec
from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import HTTPScope, Receive, Scope, Send

from sealwax.api.body import check_body, read_body
from sealwax.api.keyed import idempotency_key
from sealwax.api.problems import INVALID_FIELD, INVALID_JSON, ProblemError, not_allowed
from sealwax.api.services import Services

MOST_EMAILS: Final = 1_000
MOST_BATCH_BYTES: Final = 32_000_000
_METHODS: Final = "POST, OPTIONS"
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


def accepting_routes(services: Services) -> list[ASGIRouteHandler]:
    """The two routes."""

    async def accept_one(tenant_id: str, key: str | None, body: bytes) -> bytes:
        if key is not None:
            return await services.keyed.accept(tenant_id, key, body)
        return _encode(await services.acceptor.accept(tenant_id, body))

    async def accept_batch(tenant_id: str, key: str | None, body: bytes) -> bytes:
        emails = read_batch(body)
        if key is not None:
            return await services.keyed.accept_all(tenant_id, key, body, emails)
        return _encode({"data": await services.acceptor.accept_all(tenant_id, emails)})

    return [
        _route("/v1/emails", services, services.limits.max_bytes, accept_one),
        _route("/v1/emails/batch", services, MOST_BATCH_BYTES, accept_batch),
    ]


def _route(
    path: str,
    services: Services,
    most_bytes: int,
    accept: Callable[[str, str | None, bytes], Awaitable[bytes]],
) -> ASGIRouteHandler:
    @asgi(path, copy_scope=False)
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        request = cast("HTTPScope", scope)
        if request["method"] != "POST":
            await _answer_other(request["method"], send)
            return
        headers = dict(request["headers"])
        tenant_id = await services.auth.tenant_id(headers.get(b"authorization"))
        key = idempotency_key(headers)
        size = check_body(headers, most_bytes)
        held = most_bytes if size is None else size
        await services.room.take(tenant_id, held)
        try:
            body = await read_body(receive, size, most_bytes, services.body_timeout)
            answer = await accept(tenant_id, key, body)
        finally:
            services.room.give_back(tenant_id, held)
        await _send(send, 202, answer)

    return handle


async def _answer_other(method: str, send: Send) -> None:
    if method != "OPTIONS":
        raise not_allowed(_METHODS)
    await _send(send, 204, b"", (b"allow", _METHODS.encode()))


async def _send(
    send: Send,
    status: int,
    body: bytes,
    header: tuple[bytes, bytes] = (b"content-type", b"application/json"),
) -> None:
    length = (b"content-length", b"%d" % len(body))
    headers = [header, length] if body else [header]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def read_batch(body: bytes) -> list[msgspec.Raw]:
    """The elements of a batch, each still to be read.

    Raises:
        ProblemError: The body is not JSON, or not an array of 1 to 1,000 elements.
    """
    try:
        emails = _ELEMENTS.decode(body)
    except msgspec.ValidationError as error:
        raise ProblemError(
            INVALID_FIELD, "The body of a batch must be an array. Send [email, email, ...]."
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError(
            INVALID_JSON,
            f"The body is not valid JSON: {error}. Send one array, written by a JSON library.",
        ) from error
    if not 0 < len(emails) <= MOST_EMAILS:
        raise ProblemError(
            INVALID_FIELD,
            f"There are {len(emails):,} emails. Send 1 to {MOST_EMAILS:,} in a batch.",
        )
    return emails
