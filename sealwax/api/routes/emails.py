"""GET /v1/emails/{id} and its timeline."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from litestar import get

from sealwax import clock
from sealwax.api.emails import EmailView
from sealwax.api.problems import EMAIL_NOT_FOUND, ProblemError
from sealwax.api.services import Services
from sealwax.model.email_id import is_email_id

T = TypeVar("T")

# How long the row of an email that another process accepted may be on its way.
_PATIENCE_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.1


class TimelineView(msgspec.Struct, frozen=True):
    """The steps of an email, oldest first.

    Attributes:
        data: Each has `at`, `kind`, `recipient` and `source`; further fields depend on the kind.
    """

    data: list[dict[str, Any]]


@get("/v1/emails/{email_id:str}", summary="One email", operation_id="getEmail")
async def show_email(email_id: str, tenant_id: str, services: Services) -> EmailView:
    """What was asked for, and what became of it for each recipient."""
    return await _found(services, services.reader.email, tenant_id, email_id)


@get("/v1/emails/{email_id:str}/timeline", summary="Its timeline", operation_id="getTimeline")
async def show_timeline(email_id: str, tenant_id: str, services: Services) -> TimelineView:
    """Every step of an email with its time and, for each wait, the cause."""
    return TimelineView(await _found(services, services.reader.timeline, tenant_id, email_id))


async def _found(
    services: Services, read: Callable[[str, str], T | None], tenant_id: str, email_id: str
) -> T:
    """What `read` finds; looks for a while, since a row may be on its way."""
    give_up_at = clock.monotonic() + _PATIENCE_S
    while is_email_id(email_id):
        found = await services.events.run(read, tenant_id, email_id)
        if found is not None:
            return found
        if clock.monotonic() >= give_up_at:
            break
        await asyncio.sleep(_LOOK_EVERY_S)
    raise ProblemError(
        EMAIL_NOT_FOUND,
        f"There is no email {email_id[:64]!a}. Copy the id from the answer to the send; what "
        "happened to an email may take a moment to be stored.",
    )
