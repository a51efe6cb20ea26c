"""Signers by domain: parsed once, looked up again after a while."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from sealwax.mail.keyring import Keyring
from sealwax.model.tenant import SigningKey


def key() -> SigningKey:
    der = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return SigningKey("e1", "ed25519", der)


class Domains:
    """A keyring over domains that a test changes, on a clock that it moves."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], list[SigningKey]] = {("t", "acme.test"): [key()]}
        self.looked_up = 0
        self.now_ms = 0
        self.keyring = Keyring(self._keys, lambda: self.now_ms)

    def _keys(self, tenant: str, domain: str) -> list[SigningKey]:
        self.looked_up += 1
        return self.keys.get((tenant, domain), [])


def test_a_signer_is_kept_for_five_seconds_and_after_that_only_looked_up():
    domains = Domains()
    first = domains.keyring.signer("t", "acme.test")
    domains.now_ms = 4_999
    assert domains.keyring.signer("t", "acme.test") is first
    assert domains.looked_up == 1
    domains.now_ms = 5_000
    assert domains.keyring.signer("t", "acme.test") is first
    assert domains.looked_up == 2


def test_new_and_removed_keys_are_seen_within_five_seconds():
    domains = Domains()
    first = domains.keyring.signer("t", "acme.test")
    domains.keys["t", "acme.test"] = [key()]
    domains.now_ms = 5_000
    second = domains.keyring.signer("t", "acme.test")
    assert second is not None
    assert second is not first
    domains.keys.clear()
    domains.now_ms = 10_000
    assert domains.keyring.signer("t", "acme.test") is None


def test_a_domain_belongs_to_its_tenant_alone():
    domains = Domains()
    assert domains.keyring.signer("other", "acme.test") is None
    assert domains.keyring.signer("t", "sub.acme.test") is None
    assert domains.keyring.signer("t", "acme.test") is not None
