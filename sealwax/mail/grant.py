"""The grant of a request record: proof that sealwax's own API accepted it.

Anyone who may write to a requested topic can write any header. A record with a valid grant was
appended by a process that holds the master key, so render believes its tenant, id and time and
asks for no API key.
"""

import hashlib
import hmac


def grant(key: bytes, email_id: str, tenant: str, accepted_at_ms: int, value: bytes) -> str:
    """HMAC-SHA256 over what the record's headers claim and over its value.

    Args:
        key: `MasterKey.derive("grant")`.
        email_id: Header `email-id`.
        tenant: Header `tenant`.
        accepted_at_ms: Header `accepted-at`.
        value: The record's value as appended.

    Returns:
        64 hexadecimal digits, the header `grant`.
    """
    digest = hashlib.sha256(value).digest()
    # Lengths stand before the texts, so that no two claims share their bytes.
    claim = b"%d:%b%d:%b%d:%b" % (
        len(email_id), email_id.encode(), len(tenant), tenant.encode(), accepted_at_ms, digest,
    )  # fmt: skip
    return hmac.digest(key, claim, "sha256").hex()


def grant_holds(
    key: bytes, email_id: str, tenant: str, accepted_at_ms: int, value: bytes, claimed: str
) -> bool:
    """Whether `claimed` is the grant of the record. Takes the same time however wrong it is."""
    expected = grant(key, email_id, tenant, accepted_at_ms, value)
    # As bytes: on text compare_digest raises for anything that is not ASCII.
    return hmac.compare_digest(expected.encode(), claimed.encode(errors="replace"))
