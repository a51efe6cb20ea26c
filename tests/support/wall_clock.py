"""A wall clock that a test sets, for the processes that it starts: wall_clock.c, preloaded."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest


class WallClock:
    """Sets the wall clock of processes forward or back; their monotonic clock goes on.

    Attributes:
        environment: Makes a process have this clock.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("there is no C compiler, and the machine's clock is not ours to set")
        library = folder / "wall_clock.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True
        )
        self._file = folder / "wall_clock"
        self._file.write_bytes(struct.pack("q", 0))
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._file)}

    def move_to(self, seconds: int) -> None:
        """Sets it to so many seconds from the machine's; from now on, at once, everywhere."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))
