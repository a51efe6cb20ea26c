"""API keys: `sw_` + public id + `_` + secret."""

import hashlib
import hmac
import re
import secrets
import string
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

from sealwax.model.tenant import ApiKey, ApiKeyOwner, CreatedKey
from sealwax.store.relational.errors import KeyNameError
from sealwax.store.relational.tables import API_KEY

_ALPHABET = string.digits + string.ascii_letters
_ID_LENGTH = 8
_SECRET_LENGTH = 32
_NAME_CHARACTERS = 100
_FORM = re.compile(r"sw_([0-9A-Za-z]{8})_[0-9A-Za-z]{32,64}", re.ASCII)


def _sha256(key: str) -> bytes:
    # No slow hash: those protect what people choose. 32 random characters of 62 are 190 bits, out
    # of reach of any search, and every request of the API pays for this hash.
    return hashlib.sha256(key.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def check_name(name: str) -> None:
    """Raises KeyNameError."""
    if not 0 < len(name) <= _NAME_CHARACTERS or not name.isprintable():
        raise KeyNameError(
            f"{name[:120]!r} cannot be the name of a key: use 1 to {_NAME_CHARACTERS} printable "
            "characters, such as ci or web-shop"
        )


def create(connection: Connection, tenant_id: str, name: str, now: datetime) -> CreatedKey:
    """Makes a key and keeps its hash."""
    key_id = _random(_ID_LENGTH)
    key = f"sw_{key_id}_{_random(_SECRET_LENGTH)}"
    row = {"id": key_id, "tenant_id": tenant_id, "name": name, "created_at": now}
    connection.execute(insert(API_KEY).values(row | {"key_sha256": _sha256(key)}))
    return CreatedKey(id=key_id, name=name, key=key, created_at=now)


def owner(connection: Connection, key: str) -> ApiKeyOwner | None:
    """Whose key this is; None for anything that is not a key in force."""
    form = _FORM.fullmatch(key)
    if form is None:
        return None
    found = connection.execute(
        select(API_KEY.c.tenant_id, API_KEY.c.id, API_KEY.c.key_sha256).where(
            API_KEY.c.id == form[1], API_KEY.c.revoked_at.is_(None)
        )
    ).one_or_none()
    if found is None or not hmac.compare_digest(found.key_sha256, _sha256(key)):
        return None
    return ApiKeyOwner(tenant_id=found.tenant_id, key_id=found.id)


def listed(connection: Connection, tenant_id: str) -> tuple[ApiKey, ...]:
    """A tenant's keys, revoked ones too, oldest first."""
    rows = connection.execute(
        select(API_KEY)
        .where(API_KEY.c.tenant_id == tenant_id)
        .order_by(API_KEY.c.created_at, API_KEY.c.id)
    )
    return tuple(_api_key(row) for row in rows)


def revoke(connection: Connection, tenant_id: str, key_id: str, now: datetime) -> bool:
    """Ends a key; whether there was one in force."""
    ended = connection.execute(
        update(API_KEY)
        .where(
            API_KEY.c.tenant_id == tenant_id,
            API_KEY.c.id == key_id,
            API_KEY.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return ended.rowcount > 0


def _api_key(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(id=row.id, name=row.name, created_at=row.created_at, revoked_at=row.revoked_at)
