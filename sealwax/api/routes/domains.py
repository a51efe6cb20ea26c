"""GET /v1/domains[/{name}]."""

import asyncio

import msgspec
from litestar import get

from sealwax.api.problems import NOT_FOUND, ProblemError
from sealwax.api.services import Services
from sealwax.model.tenant import Domain


class DomainList(msgspec.Struct, frozen=True):
    """Domains by name."""

    data: tuple[Domain, ...]


@get("/v1/domains", summary="Your domains", operation_id="listDomains")
async def list_domains(tenant_id: str, services: Services) -> DomainList:
    """The domains that you may send from or are setting up."""
    return DomainList(await asyncio.to_thread(services.store.domains, tenant_id))


@get("/v1/domains/{name:str}", summary="One domain", operation_id="getDomain")
async def show_domain(name: str, tenant_id: str, services: Services) -> Domain:
    """A domain with the DNS records to publish, its DKIM public keys among them."""
    domain = await asyncio.to_thread(services.store.domain, tenant_id, name)
    if domain is None:
        raise ProblemError(
            NOT_FOUND,
            f"There is no domain {name[:253]!a}. GET /v1/domains lists those there are; "
            "`sealwax domains add NAME` adds one.",
        )
    return domain
