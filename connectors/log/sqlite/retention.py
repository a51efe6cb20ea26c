"""Letting go of old records, a whole segment at a time."""

from itertools import pairwise

from connectors.log.sqlite.segment import list_segments, remove_segment
from connectors.log.sqlite.shelf import Shelf


def delete_before(shelf: Shelf, partition: int, offset: int) -> None:
    """Raises the start offset at once and durably; unlinks the segments that nobody may read.

    The start offset is the lower of `offset` and the log's end. A segment holds every partition, so
    its bytes go when all of them have their start offset above it; the newest one stays.
    """
    folder = shelf.folder
    with folder.locked():
        end = shelf.end(partition).offset
        folder.marks.raise_start(partition, min(offset, end))
        starts = [folder.marks.start(n) for n in range(folder.meta.partitions)]
        removed = False
        for name, following in pairwise(list_segments(folder.path)):
            bases = shelf.bases(following)
            if any(base.offset > start for base, start in zip(bases, starts, strict=True)):
                break
            remove_segment(folder.path, name)
            removed = True
        if removed:
            folder.marks.change_layout()
