"""What the verbs share that work on the relational store, whether `up` runs or not."""

from collections.abc import Iterator
from contextlib import contextmanager

from sealwax.cli import output
from sealwax.config import load
from sealwax.config.environment import warnings_of
from sealwax.errors import ConfigurationError
from sealwax.store.relational import Store, open_store


@contextmanager
def opened(tenant: str | None) -> Iterator[tuple[Store, str]]:
    """The store and the id of the tenant to act on.

    Raises:
        ConfigurationError: The tenant does not exist, or the store cannot be opened.
    """
    settings = load()
    for warning in warnings_of(settings):
        output.complain(warning)
    store = open_store(settings.relational)
    try:
        yield store, _tenant_id(store, tenant)
    finally:
        store.close()


def _tenant_id(store: Store, tenant: str | None) -> str:
    if tenant is None:
        return store.default_tenant().id
    known = [t.id for t in store.tenants()]
    if tenant not in known:
        raise ConfigurationError(f"there is no tenant {tenant!r}; there are: {', '.join(known)}")
    return tenant
