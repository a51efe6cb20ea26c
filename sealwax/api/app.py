"""The API as an ASGI application."""

import asyncio
from collections.abc import Awaitable
from functools import cache
from http import HTTPStatus
from typing import Any, cast

import msgspec
import structlog
from litestar import Litestar, Request, get
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    ControllerRouterHandler,
    Message,
    Receive,
    Scope,
    Send,
)

from sealwax.api.description import document
from sealwax.api.ids import Ids
from sealwax.api.problems import MEDIA_TYPE, answer, problem_of
from sealwax.api.routes.accepting import accepting_routes
from sealwax.api.routes.domains import list_domains, show_domain
from sealwax.api.routes.emails import show_email, show_timeline
from sealwax.api.routes.health import show_health, show_problem_type, show_readiness
from sealwax.api.routes.stats import show_stats
from sealwax.api.services import Services

logger = structlog.get_logger(__name__)


def make_app(services: Services) -> ASGIApp:
    """The whole API over these services."""

    async def tenant_id(request: Request[Any, Any, Any]) -> str:
        authorization = request.headers.get("authorization", "")
        return await services.auth.tenant_id(authorization.encode("latin-1"))

    dependencies = {
        "services": Provide(lambda: services, sync_to_thread=False),
        "tenant_id": Provide(tenant_id),
    }
    handlers: list[ControllerRouterHandler] = [
        show_email, show_timeline, show_stats, list_domains, show_domain,
        show_health, show_readiness, show_problem_type,
    ]  # fmt: skip
    openapi = cache(lambda: document(handlers, dependencies))

    @get("/openapi.json", media_type="application/vnd.oai.openapi+json", sync_to_thread=False)
    def show_openapi() -> bytes:
        return openapi()

    return Front(
        Litestar(
            [*handlers, show_openapi, *accepting_routes(services)],
            dependencies=dependencies,
            exception_handlers={Exception: answer},
            openapi_config=None,
            logging_config=None,
        )
    )


class Front:
    """What every request passes: its id, HEAD, and an answer whatever happens."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ids = Ids()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = self._ids.request()
        header = (b"x-request-id", request_id.encode())
        started = False

        def send_with_id(message: Message) -> Awaitable[None]:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], header]
            return send(message)

        scope["state"] = {"request_id": request_id}
        if scope["method"] == "HEAD":
            scope["method"] = "GET"  # the server leaves the body out
        try:
            await self._app(scope, receive, cast("Send", send_with_id))
        except asyncio.CancelledError:
            return  # the client went away
        except Exception as error:
            logger.exception("request failed", request_id=request_id, path=scope["path"])
            if not started:
                await _last_resort(cast("Send", send_with_id), error)


async def _last_resort(send: Send, error: Exception) -> None:
    body = msgspec.json.encode(problem_of(error).problem)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
