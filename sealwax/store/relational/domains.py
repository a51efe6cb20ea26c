"""Domains that tenants send from."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, insert, select, update

from sealwax.model.address import AddressError, a_label_domain
from sealwax.model.tenant import Domain, SigningKey
from sealwax.store.relational import dkim_keys
from sealwax.store.relational.dkim_keys import KeyHolder, KeyPair
from sealwax.store.relational.dns_records import dns_records
from sealwax.store.relational.errors import DomainExistsError, DomainNameError
from sealwax.store.relational.tables import DKIM_KEY, DOMAIN
from sealwax.store.secrets import MasterKey

DomainRow = Row[tuple[object, ...]]


def domain_name(text: str) -> str:
    """The domain as A-labels in lower case. Raises DomainNameError."""
    name = text.strip().removesuffix(".")
    try:
        return a_label_domain(name)
    except AddressError as error:
        raise DomainNameError(
            f"{text[:80]!r} cannot be a sending domain: {error}; write it like acme.example"
        ) from error


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain to store, with its fresh keys."""

    tenant_id: str
    name: str
    trusted: bool
    pairs: tuple[KeyPair, ...]


def by_name(connection: Connection, name: str) -> DomainRow | None:
    """The domain, whoever owns it."""
    return connection.execute(select(DOMAIN).where(DOMAIN.c.name == name)).one_or_none()


def of_tenant(connection: Connection, tenant_id: str, text: str) -> DomainRow | None:
    """The domain, in any spelling, where it is the tenant's; None for any other text."""
    try:
        name = domain_name(text)
    except DomainNameError:
        return None
    return connection.execute(
        select(DOMAIN).where(DOMAIN.c.name == name, DOMAIN.c.tenant_id == tenant_id)
    ).one_or_none()


def all_of_tenant(connection: Connection, tenant_id: str) -> Iterable[DomainRow]:
    """The tenant's domains by name."""
    return connection.execute(
        select(DOMAIN).where(DOMAIN.c.tenant_id == tenant_id).order_by(DOMAIN.c.name)
    ).all()


def put(connection: Connection, new: NewDomain, *, master: MasterKey, now: datetime) -> DomainRow:
    """Stores a domain that is new; one that the tenant has stays, with its keys.

    `trusted` is only ever added. Raises DomainExistsError where another tenant has it.
    """
    found = by_name(connection, new.name)
    if found is None:
        domain_id = str(uuid.uuid4())
        connection.execute(
            insert(DOMAIN).values(
                id=domain_id,
                tenant_id=new.tenant_id,
                name=new.name,
                trusted=new.trusted,
                created_at=now,
            )
        )
        holder = KeyHolder(new.tenant_id, domain_id, new.name)
        dkim_keys.keep(connection, holder, new.pairs, master=master, now=now)
    elif found.tenant_id != new.tenant_id:
        raise DomainExistsError(new.name)
    elif new.trusted and not found.trusted:
        connection.execute(update(DOMAIN).where(DOMAIN.c.id == found.id).values(trusted=True))
    return connection.execute(select(DOMAIN).where(DOMAIN.c.name == new.name)).one()


def remove(connection: Connection, tenant_id: str, text: str) -> bool:
    """Removes the domain and its keys; whether the tenant had it."""
    row = of_tenant(connection, tenant_id, text)
    if row is None:
        return False
    return connection.execute(delete(DOMAIN).where(DOMAIN.c.id == row.id)).rowcount > 0


def read(connection: Connection, row: DomainRow, sending_host: str) -> Domain:
    """The domain with the records to publish."""
    keys = connection.execute(
        select(DKIM_KEY.c.selector, DKIM_KEY.c.algorithm, DKIM_KEY.c.public_key)
        .where(DKIM_KEY.c.domain_id == row.id)
        .order_by(DKIM_KEY.c.position)
    )
    return Domain(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        trusted=row.trusted,
        created_at=row.created_at,
        records=dns_records(row.name, [tuple(key) for key in keys], sending_host),
    )


def signing_keys(
    connection: Connection, row: DomainRow, master: MasterKey
) -> tuple[SigningKey, ...]:
    """The domain's private keys, unsealed."""
    return dkim_keys.unsealed(connection, KeyHolder(row.tenant_id, row.id, row.name), master)
