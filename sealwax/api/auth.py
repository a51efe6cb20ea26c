"""Who sends a request: the API key in its Authorization header."""

from typing import Final

from sealwax.api.look_ups import LookUps
from sealwax.api.problems import UNAUTHENTICATED, ProblemError
from sealwax.model.tenant import ApiKeyOwner
from sealwax.store.relational import Store

# A key that was revoked opens nothing after this.
_KEEP_S: Final = 5.0
_KEYS: Final = 10_000
_KEY_CHARACTERS: Final = 200
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="sealwax"'}


class Authenticator:
    """Finds the tenant of a request."""

    def __init__(self, store: Store) -> None:
        self._owners: LookUps[str, ApiKeyOwner] = LookUps(
            store.tenant_of_key, keep_s=_KEEP_S, size=_KEYS
        )

    async def tenant_id(self, authorization: bytes | None) -> str:
        """The tenant whose key the header holds.

        Raises:
            ProblemError: 401; the same for every key that opens nothing, whatever is wrong with it.
            StoreAwayError: The key could not be looked up.
        """
        scheme, _, rest = (authorization or b"").decode("latin-1").partition(" ")
        key = rest.strip()
        if scheme.lower() != "bearer" or not key:
            raise ProblemError(
                UNAUTHENTICATED,
                "The request has no API key. Send the header `Authorization: Bearer KEY`; "
                "`sealwax keys create NAME` makes a key.",
                headers=_CHALLENGE,
            )
        owner = await self._owners.get(key) if len(key) <= _KEY_CHARACTERS else None
        if owner is None:
            raise ProblemError(
                UNAUTHENTICATED,
                "The API key is unknown or revoked. Copy the whole key, or make a new one by "
                "`sealwax keys create NAME`.",
                headers=_CHALLENGE,
            )
        return owner.tenant_id
