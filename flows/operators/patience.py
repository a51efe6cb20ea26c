"""A step that waits while the relational store is away, where it would fail else."""

from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from sealwax.store.relational import StoreAwayError

X = TypeVar("X")
Y = TypeVar("Y")

_AGAIN_AFTER_S = 1.0
logger = structlog.get_logger(__name__)


class Patient(Generic[X, Y]):
    """Repeats a step over a batch until the store answers.

    The step must change nothing that it may not do twice. While it waits its worker reads nothing.
    Asked to stop, it gives the batch up: its records stay unsettled and are read by the next start.

    Attributes:
        gave_up: Whether it did.
    """

    def __init__(
        self, step: Callable[[list[X]], list[Y]], stopped_within: Callable[[float], bool]
    ) -> None:
        """Takes the step, and what waits for so many seconds or until the process is to stop."""
        self._step = step
        self._stopped_within = stopped_within
        self.gave_up = False

    def __call__(self, items: list[X]) -> list[Y]:
        """What the step returns; nothing where the process is to stop first."""
        while True:
            try:
                return self._step(items)
            except StoreAwayError as error:
                logger.warning("store away, tried again", error=str(error))
            if self._stopped_within(_AGAIN_AFTER_S):
                self.gave_up = True
                return []
