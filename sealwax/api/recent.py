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
        """Positions are of these topics, with at most so many partitions each."""
        self._topics = topics
        self._partitions = partitions
        # Two generations, of which the older one goes as a whole: taking the oldest of one large
        # dict is slow. About 140 bytes an email: keys are bytes, positions are single numbers.
        self._older: dict[bytes, int] = {}
        self._newer: dict[bytes, int] = {}
        self._newer_since_ms = 0

    def add(self, tenant_id: str, email_id: str, position: Position, now_ms: int) -> None:
        """Remembers an email that was accepted now."""
        if len(self._newer) >= _MOST // 2 or now_ms - self._newer_since_ms > _KEEP_MS:
            self._older, self._newer = self._newer, {}
            self._newer_since_ms = now_ms
        place = self._topics.index(position.topic) * self._partitions + position.partition
        lanes = len(self._topics) * self._partitions
        self._newer[_key(tenant_id, email_id)] = position.offset * lanes + place

    def find(self, tenant_id: str, email_id: str, now_ms: int) -> Position | None:
        """Where the tenant's email stands, or None. `email_id` must be one in form."""
        key = _key(tenant_id, email_id)
        packed = self._newer.get(key, self._older.get(key))
        if packed is None or accepted_at_ms(email_id) < now_ms - _KEEP_MS:
            return None
        offset, place = divmod(packed, len(self._topics) * self._partitions)
        topic, partition = divmod(place, self._partitions)
        return Position(self._topics[topic], partition, offset)


def _key(tenant_id: str, email_id: str) -> bytes:
    return bytes.fromhex(email_id.replace("-", "")) + tenant_id.encode()
