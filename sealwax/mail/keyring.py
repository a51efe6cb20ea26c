"""The signers of tenants' domains, parsed once and looked up again after a while."""

from collections.abc import Callable, Sequence

from sealwax.mail.dkim import signer
from sealwax.model.tenant import SigningKey
from sealwax.native import Signer

_KEPT_MS = 5_000


class Keyring:
    """Signers by tenant and domain; a new or removed key is seen within five seconds."""

    def __init__(
        self, keys: Callable[[str, str], Sequence[SigningKey]], now_ms: Callable[[], int]
    ) -> None:
        """Takes the look-up of a domain's keys (empty where it is not the tenant's) and a clock."""
        self._keys = keys
        self._now_ms = now_ms
        self._kept: dict[tuple[str, str], tuple[int, tuple[SigningKey, ...], Signer | None]] = {}

    def signer(self, tenant_id: str, domain: str) -> Signer | None:
        """The signer of a domain, or None where the tenant has no such domain.

        Raises:
            ValueError: A stored key is not of its algorithm.
        """
        now_ms = self._now_ms()
        kept = self._kept.get((tenant_id, domain))
        if kept is not None and now_ms - kept[0] < _KEPT_MS:
            return kept[2]
        keys = tuple(self._keys(tenant_id, domain))
        if kept is not None and kept[1] == keys:
            parsed = kept[2]
        else:
            parsed = signer(domain, keys) if keys else None
        self._kept[tenant_id, domain] = (now_ms, keys, parsed)
        return parsed
