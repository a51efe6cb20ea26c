"""What the processes that share a topic tell each other without a system call.

A file of 64-bit numbers, mapped into every process. Writers hold the topic's lock. Only the start
offsets are durable; the rest is a hint that says when there is nothing to look for.
"""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

_BELL = 0
_LAYOUT = 1
_STARTS = 2
_NUMBER_BYTES = 8


class Marks:
    """The bell, the layout counter, and where the partitions of a topic start and end.

    The bell is odd while a commit is under way, and even and higher than before once it is done.
    So a reader that saw an even number and finds the same one knows that nothing was appended,
    whatever was killed in between; an odd one means: look. An end is true while the bell is even
    and a commit was made since the machine started. The file has its blocks from the
    topic's creation on, so that raising a start offset needs no room on a full disk.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._numbers = memoryview(self._map).cast("Q")
        self._partitions = (len(self._numbers) - _STARTS) // 2

    @staticmethod
    def initial(partitions: int) -> bytes:
        """What a new topic's file holds."""
        return bytes((_STARTS + 2 * partitions) * _NUMBER_BYTES)

    @property
    def bell(self) -> int:
        """Changes with every commit; odd while one is under way, or was when a process died."""
        return self._numbers[_BELL]

    @property
    def layout(self) -> int:
        """Changes when segments come or go."""
        return self._numbers[_LAYOUT]

    def start(self, partition: int) -> int:
        """The start offset: the lowest one that may still be read."""
        return self._numbers[_STARTS + partition]

    def end(self, partition: int) -> int:
        """A hint at the end offset, see above."""
        return self._numbers[_STARTS + self._partitions + partition]

    def begin_commit(self) -> None:
        """Makes the bell odd; the topic's lock must be held, also for the rest."""
        self._numbers[_BELL] |= 1

    def end_commit(self, ends: Iterable[int]) -> None:
        """Sets the ends, then makes the bell even, and another number than before."""
        for index, end in enumerate(ends, _STARTS + self._partitions):
            self._numbers[index] = end
        self._numbers[_BELL] = (self._numbers[_BELL] | 1) + 1

    def change_layout(self) -> None:
        """Says that segments came or went."""
        self._numbers[_LAYOUT] += 1

    def raise_start(self, partition: int, offset: int) -> None:
        """Raises the start offset, durably before it returns; never lowers it."""
        if offset > self.start(partition):
            self._numbers[_STARTS + partition] = offset
            self._map.flush()
