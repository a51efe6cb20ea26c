"""DKIM key pairs of a domain, and how their private halves are kept."""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from sqlalchemy import Connection, insert, select

from sealwax.model.tenant import Algorithm, SigningKey
from sealwax.store.relational.tables import DKIM_KEY
from sealwax.store.secrets import MasterKey

_RSA_BITS = 2048  # RFC 8301 3.2; a longer key does not fit into one UDP answer
_RSA_EXPONENT = 65537
_SUFFIX_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A fresh pair; `public_key` is p= of its TXT record."""

    selector: str
    algorithm: Algorithm
    public_key: str
    pkcs8_der: bytes


def generate() -> tuple[KeyPair, ...]:
    """An RSA and an Ed25519 pair (RFC 8463 asks for both); about 100 ms.

    The selectors are `sw1-xxxx` and `sw2-xxxx` with a random suffix. A later pair, or the domain
    added again after its removal, gets names of its own: receivers cache records under the old
    names, which stay published until the last mail signed with them has arrived.
    """
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(4))
    rsa = generate_private_key(_RSA_EXPONENT, _RSA_BITS)
    ed25519 = Ed25519PrivateKey.generate()
    rsa_public = rsa.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ed25519_public = ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return (
        KeyPair(f"sw1-{suffix}", "rsa", _base64(rsa_public), _pkcs8(rsa)),
        KeyPair(f"sw2-{suffix}", "ed25519", _base64(ed25519_public), _pkcs8(ed25519)),
    )


def _pkcs8(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The domain that keys belong to; sealed keys open for it alone."""

    tenant_id: str
    domain_id: str
    domain: str

    def context(self, selector: str) -> str:
        """What the seal of a private key is bound to."""
        return f"dkim/{self.tenant_id}/{self.domain}/{selector}"


def keep(
    connection: Connection,
    holder: KeyHolder,
    pairs: tuple[KeyPair, ...],
    *,
    master: MasterKey,
    now: datetime,
) -> None:
    """Stores the pairs in their order, private halves sealed."""
    connection.execute(
        insert(DKIM_KEY),
        [
            {
                "domain_id": holder.domain_id,
                "selector": pair.selector,
                "position": position,
                "algorithm": pair.algorithm,
                "public_key": pair.public_key,
                "sealed_private_key": master.seal(pair.pkcs8_der, holder.context(pair.selector)),
                "created_at": now,
            }
            for position, pair in enumerate(pairs, start=1)
        ],
    )


def unsealed(
    connection: Connection, holder: KeyHolder, master: MasterKey
) -> tuple[SigningKey, ...]:
    """The private keys in the order in which they sign. Raises UnsealError."""
    rows = connection.execute(
        select(DKIM_KEY)
        .where(DKIM_KEY.c.domain_id == holder.domain_id)
        .order_by(DKIM_KEY.c.position)
    )
    return tuple(
        SigningKey(
            selector=row.selector,
            algorithm=row.algorithm,
            pkcs8_der=master.unseal(row.sealed_private_key, holder.context(row.selector)),
        )
        for row in rows
    )
