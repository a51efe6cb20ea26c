"""Records that may kill the process (R16): what a life leaves behind, and care with the rest."""

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import structlog

from connectors.log.port import TopicPartition
from connectors.log.settle import parse_source_header, source_header
from sealwax import clock
from sealwax.model.delivery import Position
from sealwax.policy.poison import (
    Place,
    Run,
    Stand,
    Suspicion,
    admit,
    after_start,
    after_stop,
    pass_by,
    settled,
)

CRASHED = "crashed"
CRASHED_DETAIL = (
    "the process died three times within 5 s after this record was handed out, with no other "
    "record in work"
)
_VERSION = 1
_LONG_LIFE_S = 60.0
# A death later than this after a record was handed out alone is not the record's.
_MOMENT_S = 5.0
# Care ends where a run is not settled for so long: it holds up all mail, and the process lives.
_LONGEST_RUN_S = 60.0
_LOOK_EVERY_S = 0.25
_LINE_BYTES = 256  # of the file of positions: a line a partition, each at its own place

logger = structlog.get_logger(__name__)


class Suspects:
    """What one flow's process knows of records that may kill it. Thread-safe.

    Two files: `<flow>.json` has the suspicion and is replaced durably as a whole. `<flow>.reached`
    says how far each partition was handed out; it is written in place and not synced, since it
    must outlive the process and not the machine, and is written with every batch.
    """

    def __init__(self, directory: Path, flow: str) -> None:
        """Names the files in `directory`; nothing is read or written before `begin`."""
        self._file = directory / f"{flow}.json"
        self._reached_file = directory / f"{flow}.reached"
        self._lock = threading.Lock()
        self._suspicion = Suspicion()
        self._places: dict[TopicPartition, int] = {}
        self._descriptor: int | None = None
        self._run: Run | None = None
        self._size = 1
        self._handed_at_s = 0.0
        self._began_at_s = 0.0
        self._lived_long = False
        self._ended = threading.Event()

    def begin(
        self, watermarks: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Counts this start; call it before the first record is handed out.

        Args:
            watermarks: Of every partition that this process reads.
            ends: Where these partitions end in the log.
        """
        stands: dict[Place, int] = dict(watermarks.items())
        last = self._read_reached()
        reached: dict[Place, int] = {tp: min(last[tp], ends[tp]) for tp in last if tp in ends}
        with self._lock:
            self._began_at_s = clock.monotonic()
            self._suspicion = after_start(self._read(), watermarks=stands, reached=reached)
            if not self._store():
                logger.warning("this start is not counted", file=str(self._file))
            self._open_reached(watermarks, reached)
        if self._suspicion.careful:
            logger.warning(
                "the process dies at the same records again and again: they are handed out by few",
                records={f"{t}/{n}": end for (t, n), end in self._suspicion.spans.items()},
            )
        threading.Thread(target=self._keep_looking, name="suspects", daemon=True).start()

    @property
    def careful(self) -> bool:
        """Whether records are handed out in runs, each settled before the next one."""
        return self._suspicion.careful

    def convicted(self, position: Position) -> bool:
        """Whether a record must not be processed again; says so in the log."""
        if not self._suspicion.convicted(position):
            return False
        logger.error("a record kills the process, it goes to email.dead", **position._asdict())
        return True

    def reached(self, tp: TopicPartition, offset: int) -> None:
        """Notes that everything below `offset` goes to the flow; call it before it does."""
        if self._descriptor is not None:
            with suppress(OSError):  # a full disk: the line is there already, so hardly ever
                os.pwrite(self._descriptor, _line(tp, offset), self._places[tp] * _LINE_BYTES)

    def admit(self, position: Position) -> bool:
        """Whether this record may be handed out now; where it may, that is durable already.

        False while a run is in work that it does not belong to, or while it is behind the spans of
        the lives that died.
        """
        with self._lock:
            if not self.careful:
                return True
            place = (position.topic, position.partition)
            if self._run is None and position.offset >= self._suspicion.spans.get(place, 0):
                self._pass_by(place, position.offset)  # what was left of the span is gone
                return not self.careful
            admitted = admit(self._suspicion, self._run, position, size=self._size)
            if admitted is None:
                return False
            before, self._suspicion = self._suspicion, admitted[0]
            if self._suspicion != before and not self._store():
                self._suspicion = before
                return False
            self._run, self._handed_at_s = admitted[1], clock.monotonic()
            return True

    def settled(self, tp: TopicPartition, watermark: int) -> bool:
        """Notes that everything below `watermark` is settled; True where that ends a run."""
        if not self.careful:
            return False
        with self._lock:
            run = self._run
            ended = run is not None and run.place == tp and run.last < watermark
            if ended:
                self._run = None
                self._size *= 2
                self._forget_handed()
            self._pass_by(tp, watermark)
            return ended

    def look(self) -> None:
        """Lets go of what time has cleared: a record after 5 s, all suspicion after 60 s."""
        now_s = clock.monotonic()
        with self._lock:
            handed_s = now_s - self._handed_at_s
            if handed_s >= _MOMENT_S:
                self._forget_handed()
            if self._run is not None and handed_s >= _LONGEST_RUN_S:
                logger.warning("records are not settled, and nothing died: all as always")
                self._suspicion, self._run, self._lived_long = Suspicion(), None, False
            lived_long = now_s - self._began_at_s >= _LONG_LIFE_S
            if lived_long and not self._lived_long and not self.careful:
                self._suspicion = Suspicion()
                self._lived_long = self._store()

    def close(self, *, asked: bool) -> None:
        """Ends it. A process that was asked to stop leaves nothing behind that counts. Idempotent.

        Args:
            asked: Whether the process was asked to stop; False where its dataflow broke.
        """
        self._ended.set()
        with self._lock:
            if self._descriptor is None:
                return
            os.close(self._descriptor)
            self._descriptor = None
            if asked:
                self._suspicion = after_stop(self._suspicion)
                self._store()
                with suppress(FileNotFoundError):
                    self._reached_file.unlink()

    def _forget_handed(self) -> None:
        if self._suspicion.handed is not None:
            self._suspicion = settled(self._suspicion)
            self._store()

    def _pass_by(self, place: Place, watermark: int) -> None:
        before = self._suspicion
        self._suspicion = pass_by(before, place, watermark)
        if before.careful and not self.careful:
            logger.warning("past the records that were in work at the deaths: all as always")
            self._store()

    def _keep_looking(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            self.look()

    def _store(self) -> bool:
        """Replaces the file durably; False where the disk does not take it."""
        part = self._file.with_suffix(".part")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(_encode(self._suspicion))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._file)
            folder = os.open(part.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            logger.warning("suspicion not stored", file=str(self._file), error=str(error))
            return False
        return True

    def _read(self) -> Suspicion:
        try:
            return _decode(self._file.read_bytes())
        except FileNotFoundError:
            return Suspicion()
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("suspicion unreadable", file=str(self._file), error=str(error))
            return Suspicion()

    def _read_reached(self) -> dict[TopicPartition, int]:
        try:
            lines = self._reached_file.read_bytes().split(b"\n")
        except OSError:
            return {}
        parsed = [parse_source_header(line.strip()) for line in lines]
        return {TopicPartition(p.topic, p.partition): p.offset for p, _ in filter(None, parsed)}

    def _open_reached(
        self, watermarks: Mapping[TopicPartition, int], reached: Mapping[Place, int]
    ) -> None:
        """Positions of the last life stay until this one has handed out more."""
        self._places = {tp: n for n, tp in enumerate(sorted(watermarks))}
        lines = [_line(tp, reached.get(tp, 0)) for tp in self._places]
        try:
            self._reached_file.write_bytes(b"".join(lines))
            self._descriptor = os.open(self._reached_file, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            logger.warning("positions not stored", file=str(self._reached_file), error=str(error))


def _line(tp: TopicPartition, offset: int) -> bytes:
    return source_header(Position(*tp, offset)).ljust(_LINE_BYTES - 1) + b"\n"


def _encode(suspicion: Suspicion) -> bytes:
    return orjson.dumps(
        {
            "version": _VERSION,
            "stands": [[*p, s.watermark, s.starts] for p, s in suspicion.stands.items()],
            "spans": [[*place, end] for place, end in suspicion.spans.items()],
            "deaths": [[*position, count] for position, count in suspicion.deaths.items()],
            "handed": None if suspicion.handed is None else list(suspicion.handed),
        }
    )


def _decode(raw: bytes) -> Suspicion:
    stored: dict[str, Any] = orjson.loads(raw)
    if stored["version"] != _VERSION:
        raise ValueError(f"version {stored['version']}")
    handed = stored["handed"]
    return Suspicion(
        {(t, n): Stand(watermark, starts) for t, n, watermark, starts in stored["stands"]},
        {(t, n): end for t, n, end in stored["spans"]},
        {Position(t, n, offset): count for t, n, offset, count in stored["deaths"]},
        None if handed is None else Position(*handed),
    )
