"""Limits by name, kept in this process or shared with others; see port.py."""

from typing import TYPE_CHECKING

from sealwax.store.limits.in_process import InProcessLimits
from sealwax.store.limits.port import Limits, OnRoom, Permits, RateLimit, Taken

if TYPE_CHECKING:
    from sealwax.store.limits.redis import RedisSettings

__all__ = ["InProcessLimits", "Limits", "OnRoom", "Permits", "RateLimit", "Taken", "open_limits"]


def open_limits(settings: "RedisSettings | None", on_room: OnRoom) -> Limits:
    """Limits that are shared through a server, or with None this process's own.

    Args:
        settings: The server.
        on_room: Told when a limit may have room for one that it refused.
    """
    if settings is None:
        return InProcessLimits(on_room)
    # Imported when it is used: it brings redis-py.
    from sealwax.store.limits.redis import RedisLimits  # noqa: PLC0415

    return RedisLimits.open(settings, on_room)
