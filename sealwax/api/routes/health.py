"""GET /healthz and /readyz, for whatever watches the process, and what problem types mean."""

import msgspec
from litestar import MediaType, get

from sealwax.api import problems
from sealwax.api.problems import NOT_FOUND, NOT_READY, ProblemError
from sealwax.api.services import Services
from sealwax.store.processes import NAMES


class Health(msgspec.Struct, frozen=True):
    """The answer of a process that is well."""

    status: str


@get("/healthz", sync_to_thread=False, summary="The API lives", operation_id="getHealth")
def show_health() -> Health:
    """Always 200 while the API answers at all."""
    return Health("ok")


@get("/readyz", sync_to_thread=False, summary="All is ready", operation_id="getReadiness")
def show_readiness(services: Services) -> Health:
    """200 when all four processes work, else 503 that says which do not."""
    missing = [name for name in NAMES if not services.processes.ready(name)]
    if missing:
        raise ProblemError(NOT_READY, f"Not ready: {', '.join(missing)}. Try again in a moment.")
    return Health("ready")


@get(
    "/problems/{slug:str}",
    sync_to_thread=False,
    media_type=MediaType.TEXT,
    summary="A type of problem",
    operation_id="getProblemType",
)
def show_problem_type(slug: str) -> str:
    """What the `type` of a problem stands for."""
    kind = problems.ALL.get(slug)
    if kind is None:
        raise ProblemError(NOT_FOUND, f"There is no type of problem called {slug[:60]!a}.")
    return f"{kind.status.value} {kind.slug}: {kind.title}.\n"
