"""Templates and their versions."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, Select, func, insert, or_, select

from sealwax.model.tenant import TemplateVersion
from sealwax.store.relational.errors import TemplateNameError, TemplateTextError
from sealwax.store.relational.tables import TEMPLATE, TEMPLATE_VERSION

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def check_name(name: str) -> None:
    """Raises TemplateNameError; a name that looks like an id would hide that id's template."""
    if _NAME.fullmatch(name) is None or _UUID.fullmatch(name):
        raise TemplateNameError(
            f"{name[:120]!r} cannot be the name of a template: use 1 to 100 letters, digits, "
            "`.`, `_` or `-`, beginning with a letter or digit, and not the form of a UUID"
        )


@dataclass(frozen=True, slots=True)
class Source:
    """What a version consists of: Handlebars sources."""

    subject: str | None
    html: str | None
    text: str | None

    def check(self) -> None:
        """Raises TemplateTextError for what no database keeps; syntax is the renderer's matter."""
        for field in ("subject", "html", "text"):
            if _NOT_STORABLE.search(getattr(self, field) or ""):
                raise TemplateTextError(
                    f"the {field} of the template contains U+0000 or half a surrogate pair; "
                    "save it as UTF-8 text"
                )


def put(
    connection: Connection, tenant_id: str, name: str, source: Source, now: datetime
) -> TemplateVersion:
    """Adds the next version, 1 for a new name."""
    mine = select(TEMPLATE.c.id).where(TEMPLATE.c.tenant_id == tenant_id, TEMPLATE.c.name == name)
    # The row's lock orders writers on PostgreSQL; on SQLite the transaction's own lock does.
    template_id = connection.execute(mine.with_for_update()).scalar()
    if template_id is None:
        template_id = str(uuid.uuid4())
        connection.execute(
            insert(TEMPLATE).values(id=template_id, tenant_id=tenant_id, name=name, created_at=now)
        )
    newest = select(func.max(TEMPLATE_VERSION.c.version)).where(
        TEMPLATE_VERSION.c.template_id == template_id
    )
    version = (connection.execute(newest).scalar() or 0) + 1
    connection.execute(
        insert(TEMPLATE_VERSION).values(
            template_id=template_id,
            version=version,
            subject=source.subject,
            html=source.html,
            text=source.text,
            created_at=now,
        )
    )
    return TemplateVersion(
        template_id=template_id,
        name=name,
        version=version,
        subject=source.subject,
        html=source.html,
        text=source.text,
        created_at=now,
    )


def _versions(tenant_id: str) -> Select[tuple[object, ...]]:
    return (
        select(TEMPLATE.c.name, TEMPLATE_VERSION)
        .join(TEMPLATE_VERSION, TEMPLATE_VERSION.c.template_id == TEMPLATE.c.id)
        .where(TEMPLATE.c.tenant_id == tenant_id)
    )


def get(
    connection: Connection, tenant_id: str, name_or_id: str, version: int | None
) -> TemplateVersion | None:
    """The given version, or the newest."""
    if not name_or_id.isprintable():
        return None  # no name is like that, and not every such text can be asked for
    versions = _versions(tenant_id).where(
        or_(TEMPLATE.c.name == name_or_id, TEMPLATE.c.id == name_or_id)
    )
    if version is not None:
        versions = versions.where(TEMPLATE_VERSION.c.version == version)
    newest_first = versions.order_by(TEMPLATE_VERSION.c.version.desc()).limit(1)
    row = connection.execute(newest_first).one_or_none()
    return None if row is None else _template_version(row)


def newest(connection: Connection, tenant_id: str) -> tuple[TemplateVersion, ...]:
    """The newest version of each of the tenant's templates, by name."""
    last = (
        select(func.max(TEMPLATE_VERSION.c.version))
        .where(TEMPLATE_VERSION.c.template_id == TEMPLATE.c.id)
        .correlate(TEMPLATE)
        .scalar_subquery()
    )
    rows = connection.execute(
        _versions(tenant_id).where(TEMPLATE_VERSION.c.version == last).order_by(TEMPLATE.c.name)
    )
    return tuple(_template_version(row) for row in rows)


def _template_version(row: Row[tuple[object, ...]]) -> TemplateVersion:
    return TemplateVersion(
        template_id=row.template_id,
        name=row.name,
        version=row.version,
        subject=row.subject,
        html=row.html,
        text=row.text,
        created_at=row.created_at,
    )
