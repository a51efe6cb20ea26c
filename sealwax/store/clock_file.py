"""That the clock of this machine stepped forward: known to all processes, over restarts."""

from pathlib import Path
from typing import NamedTuple

import msgspec


class Suspicion(NamedTuple):
    """A step that nobody has accepted yet.

    Attributes:
        step_ms: By how much the wall clock went forward.
        seen_at_ms: The wall clock right after it.
    """

    step_ms: int
    seen_at_ms: int


class ClockFile:
    """The file `run/clock.json`, which is there while the clock is not trusted (R11)."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "run" / "clock.json"

    def suspicion(self) -> Suspicion | None:
        """The step that is not accepted, or None while the clock is trusted."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Suspicion)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            return Suspicion(0, 0)  # somebody's edit: what it says is gone, that it is there counts

    def suspect(self, suspicion: Suspicion) -> None:
        """Says that the clock is not to be trusted."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(suspicion))
        part.replace(self._path)

    def accept(self) -> None:
        """Says that it is trusted again. Idempotent."""
        self._path.unlink(missing_ok=True)
