"""The emails that this process accepted a moment ago."""

from typing import Final

from sealwax.model.delivery import Position
from sealwax.model.email_id import accepted_at_ms

_KEEP_MS: Final = 15 * 60 * 1000
_MOST: Final = 200_000


class RecentEmails:
    """Where the requests of the last 15 minutes stand in the log, at most 200,000 of them.

    So the id in a 202 can be asked for before the first row about it is stored.
    """

    def __init__(self, topics: tuple[str, ...], partitions: int) -> None:
        """Positions are of these topics, with so many partitions each."""
        self._topics = topics
        self._partitions = partitions
        # About 140 bytes an email: keys are bytes, positions are single numbers.
        self._positions: dict[bytes, int] = {}

    def add(self, tenant_id: str, email_id: str, position: Position) -> None:
        """Remembers an email."""
        place = self._topics.index(position.topic) * self._partitions + position.partition
        lanes = len(self._topics) * self._partitions
        self._positions[_key(tenant_id, email_id)] = position.offset * lanes + place
        self._forget(accepted_at_ms(email_id) - _KEEP_MS)

    def find(self, tenant_id: str, email_id: str, now_ms: int) -> Position | None:
        """Where the tenant's email stands, or None. `email_id` must be one in form."""
        packed = self._positions.get(_key(tenant_id, email_id))
        if packed is None or accepted_at_ms(email_id) < now_ms - _KEEP_MS:
            return None
        offset, place = divmod(packed, len(self._topics) * self._partitions)
        topic, partition = divmod(place, self._partitions)
        return Position(self._topics[topic], partition, offset)

    def _forget(self, before_ms: int) -> None:
        """Drops the oldest; two at a time, so that an old rest shrinks while new ones come."""
        for _ in range(2):
            oldest = next(iter(self._positions))
            too_old = int.from_bytes(oldest[:6], "big") < before_ms
            if not too_old and len(self._positions) <= _MOST:
                return
            del self._positions[oldest]


def _key(tenant_id: str, email_id: str) -> bytes:
    return bytes.fromhex(email_id.replace("-", "")) + tenant_id.encode()
