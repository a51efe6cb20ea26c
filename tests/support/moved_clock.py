"""A clock that a test moves."""

from pathlib import Path


class MovedClock:
    """Moves the clock of the platform's processes, in seconds."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds = 0
        file.write_text("0")

    def forward(self, seconds: int) -> None:
        self._seconds += seconds
        beside = self._file.with_suffix(".new")
        beside.write_text(str(self._seconds))
        beside.replace(self._file)
