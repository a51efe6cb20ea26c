"""A topic's folder: what it consists of, and how it comes to be."""

import secrets
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import msgspec

from connectors.log.sqlite.files import locked, sync, write_durably
from connectors.log.sqlite.marks import Marks
from connectors.log.sqlite.segment import Bound, SegmentName, create_segment, publish
from sealwax.errors import ConfigurationError
from sealwax.model.topics import TopicSpec

_FORMAT = 1
_META = "topic.json"
_MARKS = "marks"
_LOCK = "append.lock"
_COMPACTION_LOCK = "compact.lock"
_CREATION_LOCK = "create.lock"
_UNFINISHED = ".new-"
# The marks of a topic fit in one page, and a partition number in its part of a row id.
MAX_PARTITIONS = 500


class TopicMeta(msgspec.Struct, frozen=True):
    """What never changes about a topic.

    Attributes:
        format: Version of the folder's layout.
        partitions: How many.
        incarnation: Random, so that a topic that was deleted and made again is noticed.
        compacted: Whether only the last record of each key is kept.
    """

    format: int
    partitions: int
    incarnation: str
    compacted: bool


class TopicFolder:
    """An existing topic on disk.

    Raises:
        KeyError: There is no such topic.
        ConfigurationError: Another version of sealwax made it.
    """

    def __init__(self, directory: Path, topic: str, lock_timeout: timedelta) -> None:
        self._lock_timeout = lock_timeout
        self.topic = topic
        self.path = directory / topic
        try:
            raw = (self.path / _META).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(topic) from None
        self.meta = msgspec.json.decode(raw, type=TopicMeta)
        if self.meta.format != _FORMAT:
            raise ConfigurationError(
                f"{self.path} has format {self.meta.format}, this version reads {_FORMAT}"
            )
        self.marks = Marks(self.path / _MARKS)

    def locked(self) -> AbstractContextManager[None]:
        """Excludes every other writer of the topic, in this process and in others.

        Entering raises TimeoutError.
        """
        return locked(self.path / _LOCK, self._lock_timeout)

    def compacting(self) -> AbstractContextManager[None]:
        """Excludes every other compaction of the topic. Entering raises TimeoutError."""
        return locked(self.path / _COMPACTION_LOCK, self._lock_timeout)


def create_topics(
    directory: Path, specs: Iterable[TopicSpec], partitions: int, lock_timeout: timedelta
) -> None:
    """Creates the folders that are missing, each complete or not at all, and durable.

    Raises:
        TimeoutError: Another process was creating some for all that time.
    """
    missing = [spec for spec in specs if not (directory / spec.name / _META).exists()]
    if not missing:
        return
    with locked(directory / _CREATION_LOCK, lock_timeout):
        for left in directory.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        for spec in missing:
            if not (directory / spec.name / _META).exists():
                _create(directory, spec, partitions)
        sync(directory)


def _create(directory: Path, spec: TopicSpec, partitions: int) -> None:
    folder = directory / f"{_UNFINISHED}{spec.name}"
    folder.mkdir()
    meta = TopicMeta(_FORMAT, partitions, secrets.token_hex(16), spec.compacted)
    write_durably(folder / _META, msgspec.json.encode(meta))
    write_durably(folder / _MARKS, Marks.initial(partitions))
    write_durably(folder / _LOCK, b"")
    first = SegmentName(1, 1)
    publish(create_segment(folder, first, [Bound(0, 0)] * partitions), first)
    folder.rename(directory / spec.name)
