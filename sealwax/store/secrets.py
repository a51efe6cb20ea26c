"""The master key: what seals secrets at rest and what other keys derive from."""

import os
import secrets
import stat
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealwax.errors import ConfigurationError, SealwaxError

_KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D 8.2.2, random nonces
_FORMAT_1 = b"\x01"
_SEAL = "seal/1"


class UnsealError(SealwaxError):
    """A sealed secret was made with another master key, for another place, or was changed."""


class MasterKey:
    """32 random bytes from which every other key of the installation derives.

    Whoever loses the file loses the private DKIM keys; it belongs into the backup, apart from the
    database.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a master key has {_KEY_BYTES} bytes, got {len(key)}")
        self._key = key
        self._sealing = AESGCM(self._hkdf(_SEAL))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads the key. Raises ConfigurationError: missing, open to others, or broken."""
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigurationError(
                    f"{path} can be read by other users; run: chmod 600 {path}"
                )
            text = path.read_text(encoding="ascii")
            return cls(bytes.fromhex(text))
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"the master key {path} is missing; restore it from the backup"
            ) from error
        except OSError as error:
            raise ConfigurationError(f"cannot read the master key {path}: {error}") from error
        except ValueError as error:
            raise ConfigurationError(
                f"{path} does not hold a master key (64 hexadecimal digits); restore it from the "
                "backup"
            ) from error

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Reads the key, or makes it (mode 0600) where there is none.

        Safe when several processes start at once: the file appears whole or not at all, and all of
        them get the same key. It is durable when this returns.
        """
        if not path.exists():
            try:
                cls._create(path)
            except OSError as error:
                raise ConfigurationError(f"cannot write the master key {path}: {error}") from error
        return cls.load(path)

    @staticmethod
    def _create(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as file:
                file.write(secrets.token_bytes(_KEY_BYTES).hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link, not a rename: it fails where another process was first.
                path.hardlink_to(draft)
            except FileExistsError:
                return
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def seal(self, secret: bytes, context: str) -> bytes:
        """Encrypts a secret with AES-256-GCM.

        Args:
            secret: What to hide.
            context: Where it belongs, such as tenant, domain and selector. It is authenticated,
                not stored: a sealed secret that is moved elsewhere does not open.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT_1 + nonce + self._sealing.encrypt(nonce, secret, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Opens what `seal` made with the same key and context. Raises UnsealError."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] == _FORMAT_1 and len(nonce) == _NONCE_BYTES:
                return self._sealing.decrypt(nonce, body, context.encode())
        except InvalidTag:
            pass
        raise UnsealError(
            f"the secret of {context} does not open with this master key; restore the master key "
            "and the database from the same backup"
        )

    def derive(self, label: str) -> bytes:
        """32 bytes for one purpose (HKDF-SHA256, RFC 5869); the same label gives the same bytes."""
        return self._hkdf(f"derive/{label}")

    def _hkdf(self, info: str) -> bytes:
        # No salt: the input is uniformly random already (RFC 5869 3.1).
        hkdf = HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"sealwax/{info}".encode())
        return hkdf.derive(self._key)
