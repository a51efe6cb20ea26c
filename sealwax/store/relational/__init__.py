"""Tenants, keys, domains and templates in the relational store."""

from sealwax.store.relational.errors import (
    DomainExistsError,
    DomainNameError,
    KeyNameError,
    StoreAwayError,
    TemplateNameError,
    TemplateTextError,
    TenantIdError,
    UnknownTenantError,
)
from sealwax.store.relational.opening import open_store
from sealwax.store.relational.settings import RelationalSettings, sqlite_url
from sealwax.store.relational.store import Store

__all__ = [
    "DomainExistsError",
    "DomainNameError",
    "KeyNameError",
    "RelationalSettings",
    "Store",
    "StoreAwayError",
    "TemplateNameError",
    "TemplateTextError",
    "TenantIdError",
    "UnknownTenantError",
    "open_store",
    "sqlite_url",
]
