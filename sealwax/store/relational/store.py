"""The relational store: one transaction per call."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from sealwax import clock
from sealwax.model.tenant import (
    ApiKey,
    ApiKeyOwner,
    CreatedKey,
    Domain,
    SigningKey,
    TemplateVersion,
    Tenant,
)
from sealwax.policy.idempotency import Fate, Looked, TakeForRecord, Taken
from sealwax.store.relational import claims, dkim_keys, domains, keys, templates
from sealwax.store.relational.domains import NewDomain, domain_name
from sealwax.store.relational.engine import AWAY, WRITES, reason_away, turn
from sealwax.store.relational.errors import StoreAwayError, TenantIdError, UnknownTenantError
from sealwax.store.relational.tables import TENANT
from sealwax.store.secrets import MasterKey

T = TypeVar("T")

DEFAULT_TENANT_ID: Final = "default"
_TENANT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,35}", re.ASCII)  # it is a key of topics and a context


class Store:
    """Tenants and what belongs to them.

    Any thread may call any method, and several processes may hold stores on one database. What a
    method wrote is durable when it returns, and readable by all of them. Every method raises
    StoreAwayError where the database does not answer.
    """

    def __init__(
        self, engine: Engine, master_key: MasterKey, sending_host: str, timeout: timedelta
    ) -> None:
        self._engine = engine
        self._writing_engine = engine.execution_options(**{WRITES: True})
        self._master_key = master_key
        self._sending_host = sending_host
        self._timeout = timeout

    @property
    def master_key(self) -> MasterKey:
        """The key that the database's secrets are sealed with."""
        return self._master_key

    def close(self) -> None:
        """Closes the connections. Idempotent."""
        self._engine.dispose()

    # Tenants

    def tenants(self) -> tuple[Tenant, ...]:
        """All tenants, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(select(TENANT).order_by(TENANT.c.created_at, TENANT.c.id))
            return tuple(Tenant(row.id, row.name, row.created_at) for row in rows)

    def default_tenant(self) -> Tenant:
        """The tenant that the first start made."""
        with self._reading() as connection:
            row = connection.execute(select(TENANT).where(TENANT.c.id == DEFAULT_TENANT_ID)).one()
            return Tenant(row.id, row.name, row.created_at)

    def has_tenant(self, tenant_id: str) -> bool:
        """Whether there is a tenant with exactly this id; the text may be anything."""
        if _TENANT_ID.fullmatch(tenant_id) is None:
            return False  # PostgreSQL takes no NUL in a text
        with self._reading() as connection:
            query = select(TENANT.c.id).where(TENANT.c.id == tenant_id)
            return connection.execute(query).one_or_none() is not None

    def create_tenant(self, tenant_id: str, name: str) -> Tenant:
        """Makes a tenant, or returns the one with this id unchanged.

        Raises:
            TenantIdError: The id has other characters than lower-case letters, digits and hyphens.
        """
        if _TENANT_ID.fullmatch(tenant_id) is None:
            raise TenantIdError(
                f"{tenant_id[:40]!r} cannot be the id of a tenant: use 1 to 36 lower-case letters, "
                "digits and hyphens, beginning with a letter or digit"
            )
        with self._writing() as connection:
            return put_tenant(connection, tenant_id, name)

    # API keys

    def create_key(self, tenant_id: str, name: str) -> CreatedKey:
        """Makes a key; only this answer ever holds its secret.

        Raises:
            KeyNameError: The name is empty, over 100 characters or not printable.
            UnknownTenantError: There is no such tenant.
        """
        keys.check_name(name)
        with self._writing() as connection:
            _require_tenant(connection, tenant_id)
            return keys.create(connection, tenant_id, name, clock.now())

    def tenant_of_key(self, key: str) -> ApiKeyOwner | None:
        """Whose key this is; None for an unknown or a revoked one, and for any other text."""
        with self._reading() as connection:
            return keys.owner(connection, key)

    def keys(self, tenant_id: str) -> tuple[ApiKey, ...]:
        """The tenant's keys, revoked ones too, oldest first."""
        with self._reading() as connection:
            return keys.listed(connection, tenant_id)

    def revoke_key(self, tenant_id: str, key_id: str) -> bool:
        """Ends a key for every later `tenant_of_key`; False where none was in force."""
        with self._writing() as connection:
            return keys.revoke(connection, tenant_id, key_id, clock.now())

    # Domains

    def add_domain(self, tenant_id: str, name: str, *, trusted: bool) -> Domain:
        """Sets up a domain with DKIM keys of its own; takes about 100 ms.

        Adding it again returns the one that is there; `trusted` then upgrades it, and its absence
        takes nothing away.

        Raises:
            DomainNameError: It cannot be a domain that sends mail.
            DomainExistsError: Another tenant has it.
            UnknownTenantError: There is no such tenant.
        """
        a_labels = domain_name(name)
        with self._reading() as connection:
            _require_tenant(connection, tenant_id)
            is_new = domains.by_name(connection, a_labels) is None
        # Before the transaction: nobody waits for the lock while keys are made.
        pairs = dkim_keys.generate() if is_new else ()
        new = NewDomain(tenant_id, a_labels, trusted, pairs)
        try:
            return self._put_domain(new)
        except IntegrityError:
            # On PostgreSQL another process may have added it meanwhile: now it is there.
            return self._put_domain(new)

    def _put_domain(self, new: NewDomain) -> Domain:
        with self._writing() as connection:
            row = domains.put(connection, new, master=self._master_key, now=clock.now())
            return domains.read(connection, row, self._sending_host)

    def domain(self, tenant_id: str, name: str) -> Domain | None:
        """The tenant's domain in any spelling, or None."""
        with self._reading() as connection:
            row = domains.of_tenant(connection, tenant_id, name)
            return None if row is None else domains.read(connection, row, self._sending_host)

    def domains(self, tenant_id: str) -> tuple[Domain, ...]:
        """The tenant's domains by name."""
        with self._reading() as connection:
            rows = domains.all_of_tenant(connection, tenant_id)
            return tuple(domains.read(connection, row, self._sending_host) for row in rows)

    def usable_domain(self, tenant_id: str, name: str) -> bool:
        """Whether the tenant may send from exactly this domain, which includes no subdomain."""
        with self._reading() as connection:
            row = domains.of_tenant(connection, tenant_id, name)
            return row is not None and bool(row.trusted)

    def remove_domain(self, tenant_id: str, name: str) -> bool:
        """Removes a domain and its keys for good; False where the tenant has none of that name."""
        with self._writing() as connection:
            return domains.remove(connection, tenant_id, name)

    def signing_keys(self, tenant_id: str, domain: str) -> tuple[SigningKey, ...]:
        """The private keys of a domain, RSA first; empty where the tenant has no such domain.

        Raises:
            UnsealError: The master key is not the one that sealed them.
        """
        with self._reading() as connection:
            row = domains.of_tenant(connection, tenant_id, domain)
            if row is None:
                return ()
            return domains.signing_keys(connection, row, self._master_key)

    # Templates

    def put_template(
        self, tenant_id: str, name: str, subject: str | None, html: str | None, text: str | None
    ) -> TemplateVersion:
        """Adds a version; earlier ones stay as they are.

        Raises:
            TemplateNameError: The name has other characters than letters, digits, `.`, `_`, `-`.
            TemplateTextError: A text has characters that no database keeps.
            UnknownTenantError: There is no such tenant.
        """
        templates.check_name(name)
        source = templates.Source(subject, html, text)
        source.check()
        try:
            return self._put_template(tenant_id, name, source)
        except IntegrityError:
            # On PostgreSQL another process may have made the template meanwhile.
            return self._put_template(tenant_id, name, source)

    def _put_template(self, tenant_id: str, name: str, source: templates.Source) -> TemplateVersion:
        with self._writing() as connection:
            _require_tenant(connection, tenant_id)
            return templates.put(connection, tenant_id, name, source, clock.now())

    def template(
        self, tenant_id: str, name_or_id: str, version: int | None = None
    ) -> TemplateVersion | None:
        """A version of the tenant's template, the newest where none is asked for; or None."""
        with self._reading() as connection:
            return templates.get(connection, tenant_id, name_or_id, version)

    def templates(self, tenant_id: str) -> tuple[TemplateVersion, ...]:
        """The newest version of each of the tenant's templates, by name."""
        with self._reading() as connection:
            return templates.newest(connection, tenant_id)

    # Claims

    def look_at_claim(self, name: str, payload_hash: bytes) -> Looked:
        """What a repeat of a keyed request has to know."""
        with self._reading() as connection:
            return claims.look(connection, name, payload_hash, clock.now_ms())

    def write_claims(self, writes: Sequence[claims.Write]) -> list[Taken | None]:
        """Takes, finishes and gives up claims of the API, in order and in one transaction.

        Returns:
            The answer to each Take; None for the others.
        """

        def write(connection: Connection) -> list[Taken | None]:
            return claims.write(connection, writes, clock.now_ms())

        return self._claiming(write)

    def claim_for_records(self, wanted: Sequence[TakeForRecord]) -> list[Fate]:
        """Takes claims for records that are to be rendered, in order and in one transaction."""
        return self._claiming(lambda connection: claims.take_for_records(connection, wanted))

    def delete_claims(self, before_ms: int, most: int) -> int:
        """Deletes at most so many claims that expired before then; how many."""
        return self._claiming(lambda connection: claims.delete_expired(connection, before_ms, most))

    def _claiming(self, write: Callable[[Connection], T]) -> T:
        try:
            return self._write_in_turn(write)
        except IntegrityError:
            # On PostgreSQL another process may have taken one of them meanwhile: now it is there.
            return self._write_in_turn(write)

    def _write_in_turn(self, write: Callable[[Connection], T]) -> T:
        with turn(self._engine, self._timeout), self._writing() as connection:
            return write(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _answering(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _answering(), self._writing_engine.begin() as connection:
            yield connection


def put_tenant(connection: Connection, tenant_id: str, name: str) -> Tenant:
    """Makes a tenant where there is none with this id."""
    found = select(TENANT).where(TENANT.c.id == tenant_id)
    if connection.execute(found).one_or_none() is None:
        connection.execute(insert(TENANT).values(id=tenant_id, name=name, created_at=clock.now()))
    row = connection.execute(found).one()
    return Tenant(row.id, row.name, row.created_at)


def _require_tenant(connection: Connection, tenant_id: str) -> None:
    known = select(TENANT.c.id).where(TENANT.c.id == tenant_id)
    if not tenant_id.isprintable() or connection.execute(known).scalar() is None:
        raise UnknownTenantError(tenant_id)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except AWAY as error:
        raise StoreAwayError(f"the database did not answer: {reason_away(error)}") from error
