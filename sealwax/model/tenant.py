"""Tenants and what belongs to them: keys, domains, templates."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Algorithm = Literal["rsa", "ed25519"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """The account that owns keys, domains, templates and mail.

    Attributes:
        id: Text without spaces; key of the tenant's records in the requested topics.
        name: For people.
        created_at: With its zone.
    """

    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it may be listed: without its secret.

    Attributes:
        id: The public part, eight characters; a key starts with `sw_<id>_`.
        name: Chosen by whoever made it; need not be unique.
        created_at: With its zone.
        revoked_at: From then on the key opens nothing; None while it is good.
    """

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key in the one moment in which its secret is known; only its hash is kept."""

    id: str
    name: str
    key: str = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKeyOwner:
    """Who a key speaks for."""

    tenant_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """A record that the owner of a domain should publish.

    Attributes:
        type: `TXT`.
        name: Fully qualified, without the final dot.
        value: The whole value. A TXT record holds strings of at most 255 octets, so a longer value
            (an RSA key) is published as several strings that resolvers join without a space:
            `"first 255 octets" "the rest"` (RFC 6376 3.6.2.2). Most DNS hosts split by themselves.
        purpose: One sentence for the person who publishes it.
    """

    type: str
    name: str
    value: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain that a tenant sends from.

    Attributes:
        id: UUID text.
        tenant_id: Its one owner.
        name: A-labels, lower case.
        trusted: Whether the operator vouched for it; without that it is not usable yet.
        created_at: With its zone.
        records: What to publish, DKIM first.
    """

    id: str
    tenant_id: str
    name: str
    trusted: bool
    created_at: datetime
    records: tuple[DnsRecord, ...]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private DKIM key, unsealed.

    Attributes:
        selector: s= of the signature.
        algorithm: `rsa` (2048 bits) or `ed25519`.
        pkcs8_der: The private key, PKCS#8, DER, not encrypted.
    """

    selector: str
    algorithm: Algorithm
    pkcs8_der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """One version of a template; it never changes.

    Attributes:
        template_id: UUID text, the same in all versions.
        name: Unique within the tenant.
        version: From 1, without holes.
        subject: Handlebars source, or None where the submission brings its own.
        html: Handlebars source, or None.
        text: Handlebars source, or None.
        created_at: With its zone.
    """

    template_id: str
    name: str
    version: int
    subject: str | None
    html: str | None
    text: str | None
    created_at: datetime
