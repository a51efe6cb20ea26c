"""The note in an embedded log that says where its records were moved: nobody sends them again."""

import os
from pathlib import Path

import msgspec
from typing_extensions import override

from connectors.log.sqlite.files import sync, write_durably
from sealwax.errors import ConfigurationError

COPY = "sealwax log copy"
_FILE = "moved"


class Moved(msgspec.Struct, frozen=True):
    """Where a log goes.

    Attributes:
        bootstrap: The brokers.
        namespace: Before the names of topics and groups.
        done: Whether everything is there.
    """

    bootstrap: str
    namespace: str
    done: bool

    @override
    def __str__(self) -> str:
        named = f", namespace {self.namespace!r}" if self.namespace else ""
        return f"Kafka at {self.bootstrap}{named}"


def read(directory: Path) -> Moved | None:
    """The note of a log; None where it was never moved."""
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=Moved)
    except FileNotFoundError:
        return None


def write(directory: Path, note: Moved) -> None:
    """Replaces the note durably."""
    part = directory / f".{_FILE}.{os.getpid()}"
    write_durably(part, msgspec.json.encode(note))
    part.replace(directory / _FILE)
    sync(directory)


def refuse_moved(directory: Path) -> None:
    """Raises ConfigurationError where a log is not to be worked on here any more."""
    refuse_unfinished(directory)
    note = read(directory)
    if note is not None:
        raise ConfigurationError(
            f"the log in {directory} was moved to {note}: set KAFKA_BOOTSTRAP_SERVERS. Whoever "
            f"goes on with the old one sends again what was sent from there; delete "
            f"{directory / _FILE} to do it all the same"
        )


def refuse_unfinished(directory: Path) -> None:
    """Raises ConfigurationError while a log is being moved: neither of the two is whole."""
    note = read(directory)
    if note is not None and not note.done:
        raise ConfigurationError(
            f"the log in {directory} is being moved to {note}, and not all of it is there: run "
            f"`{COPY}` again. To stay here instead, delete the topics there and "
            f"{directory / _FILE}"
        )
