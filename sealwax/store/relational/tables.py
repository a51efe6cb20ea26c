"""The tables. A change here goes with a migration; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from typing_extensions import override

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID_LENGTH = 36


class Instant(TypeDecorator[datetime]):
    """A time with its zone, kept as milliseconds since 1970: SQLite's own times have no zone."""

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else round(value.timestamp() * 1000)

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1000, tz=UTC)


INSTALLATION = Table(
    "installation",  # facts about the whole database, such as the master key's fingerprint
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

TENANT = Table(
    "tenant",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
)


def _tenant_id() -> Column[str]:
    return Column("tenant_id", ForeignKey("tenant.id"), nullable=False, index=True)


API_KEY = Table(
    "api_key",
    METADATA,
    Column("id", String(8), primary_key=True),
    _tenant_id(),
    Column("name", String(200), nullable=False),
    Column("key_sha256", LargeBinary(32), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

DOMAIN = Table(
    "domain",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    _tenant_id(),
    Column("name", String(253), nullable=False, unique=True),
    Column("trusted", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
)

DKIM_KEY = Table(
    "dkim_key",
    METADATA,
    Column("domain_id", ForeignKey("domain.id", ondelete="CASCADE"), primary_key=True),
    Column("selector", String(63), primary_key=True),
    Column("position", Integer, nullable=False),  # order of the signatures and of the records
    Column("algorithm", String(16), nullable=False),
    Column("public_key", Text, nullable=False),  # base64, p= of the TXT record
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

TEMPLATE = Table(
    "template",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    _tenant_id(),
    Column("name", String(100), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("tenant_id", "name"),
)

TEMPLATE_VERSION = Table(
    "template_version",
    METADATA,
    Column("template_id", ForeignKey("template.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("subject", Text),
    Column("html", Text),
    Column("text", Text),
    Column("created_at", Instant, nullable=False),
)

CLAIMS = Table(
    "claims",
    METADATA,
    Column("claim", String(310), primary_key=True),  # idem:<tenant>:<key>, id:<email id>
    Column("payload_hash", LargeBinary(32), nullable=False),
    Column("email_ids", Text, nullable=False),  # with a space between them
    Column("answer", LargeBinary),
    Column("source", String(300)),  # topic/partition/offset
    Column("state", String(8), nullable=False),
    Column("claimed_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False, index=True),
)
