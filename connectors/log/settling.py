"""What a process knows of all the partitions that its flow reads: settlers, read-back, commits."""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog

from connectors.log.fences import Fences, Owner, Writer, fence_entry, fence_of
from connectors.log.flow_spec import FlowSpec, read_back_group
from connectors.log.lost import MADE_ANEW, fitting, lives_of, made_anew, note_of_lives, why_stopped
from connectors.log.port import Committed, Entry, Log, TopicPartition
from connectors.log.settle import Held, Settler, Stand, decode_stand, source_of
from connectors.log.suspects import Suspects
from sealwax import clock
from sealwax.errors import LogAwayError, UnreadableRecordError
from sealwax.model.delivery import Position

# Of one source record: the outcomes that are durable already, as (output topic, recipient index).
Done = frozenset[tuple[str, int | None]]

_COMMIT_EVERY_S = 0.2
_ENDS_EVERY_S = 0.5
_MAX_MARKS_BEHIND = 1_000
# What did not move is committed again. A commit without an answer is repeated by another client,
# and the first one may come yet, after newer ones, for two minutes (`kafka/asking.py`); so may one
# of the owner before. And a cluster forgets the offsets of a group without members in the end.
_RENEW_EVERY_S = 10.0
_ALONE = Owner()

logger = structlog.get_logger(__name__)


class Floor(NamedTuple):
    """Where a read-back begins in an output, and whose fence stands before it."""

    offset: int
    writer: int


class Settling:
    """The settlers of the partitions that this process owns, read back and committed in one place.

    Guarantee: a record is handed to the flow again after a crash unless its outcomes were durable;
    those that were are known by `done`, so that none is written a second time.
    """

    def __init__(
        self,
        log: Log,
        spec: FlowSpec,
        numbers: Sequence[int],
        suspects: Suspects | None = None,
        *,
        owner: Owner = _ALONE,
        timer: bool = True,
    ) -> None:
        """Opens the partitions of every source topic; ownership must be held.

        Args:
            log: The log.
            spec: What the flow reads and where its outcomes go.
            numbers: The partition numbers of this process.
            suspects: Finds records that kill the process, which are put aside (R16).
            owner: Who this process is, and for how long it is sure of its partitions (R3).
            timer: Without it no thread commits, and the caller calls `commit_round` in its place.
        """
        self.log = log
        self.spec = spec
        self.suspects = suspects
        self.writers = owner.writers
        self._valid_until = owner.valid_until
        self._rise = owner.rise
        self.stopped: dict[TopicPartition, str] = {}
        self.sources = [TopicPartition(topic, n) for topic in sorted(spec.shares) for n in numbers]
        self.acks: deque[Position] = deque()  # source records whose outcomes are durable
        self._settlers: dict[TopicPartition, Settler] = {}
        self._held = Held()
        self._done: dict[TopicPartition, dict[int, Done]] = {}
        self._outputs = {n: tuple(spec.outputs(n)) for n in numbers}
        self._made_anew: dict[int, set[str]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._marked_at = float("-inf")
        self._renewed_at = clock.monotonic()
        self._take_over()
        if suspects is not None:
            suspects.begin(
                {tp: settler.watermark for tp, settler in self._settlers.items()},
                {tp: log.end_offset(tp) for tp in self.sources},
            )
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        if self.writers:
            self.commit_floors()  # the lives of the topics are noted before any mail is sent
        if timer:
            self._thread.start()

    def settler(self, tp: TopicPartition) -> Settler:
        """The settler of a source partition."""
        return self._settlers[tp]

    @property
    def unsettled(self) -> int:
        """Records that were handed out and are not settled yet."""
        return sum(settler.unsettled for settler in self._settlers.values())

    @property
    def full(self) -> bool:
        """Whether the process holds as many bytes as it may: a few records can weigh much."""
        return self._held.bytes >= self.spec.window_bytes

    def take_done(self, tp: TopicPartition) -> dict[int, Done]:
        """Offset -> durable outcomes, for the records at and above the watermark at start."""
        return self._done.pop(tp, {})

    def window(self, topic: str) -> tuple[int, int]:
        """Records and bytes that one partition of `topic` may hold unsettled."""
        number = max(1, len(self._outputs)) * sum(self.spec.shares.values())
        share = self.spec.shares[topic]
        return (
            max(1, self.spec.window_records * share // number),
            max(1, self.spec.window_bytes * share // number),
        )

    def settle_acknowledged(self) -> None:
        """Settles what is durable, and commits, without the dataflow (R11). Thread-safe."""
        while self.acks:
            try:
                topic, partition, offset = self.acks.popleft()
            except IndexError:
                break  # a worker took it
            settler = self._settlers.get(TopicPartition(topic, partition))
            if settler is not None:  # else the record is another process's, of the same cluster
                settler.settle((offset,))
        self._commit(durable=True)

    def commit_floors(self) -> None:
        """Commits, durably, how far back a start would read the outputs: retention goes by it."""
        self._commit(durable=True)
        with self._lock:  # else a floor may be of a commit that is not stored yet
            floor_of = {tp: settler.floor for tp, settler in self._settlers.items()}
        for number, outputs in self._outputs.items():
            floors = [floor for tp, floor in floor_of.items() if tp.partition == number]
            known = [floor for floor in floors if floor is not None]
            if len(known) == len(floors):
                lowest = [min(ends) for ends in zip(*known, strict=True)]
                note = note_of_lives(self.log, self.spec.shares) if self.writers else ""
                positions = {
                    tp: Committed(end, note) for tp, end in zip(outputs, lowest, strict=True)
                }
                self.log.commit(read_back_group(self.spec.name, number), positions, durable=True)

    def commit_round(self) -> None:
        """What the timer does each time: sets marks when it is time for them, and commits."""
        try:
            if clock.monotonic() - self._marked_at >= _ENDS_EVERY_S:
                self._mark()
                self._marked_at = clock.monotonic()
            if clock.monotonic() - self._renewed_at >= _RENEW_EVERY_S:
                for settler in self._settlers.values():
                    settler.forget_commit()
                self._renewed_at = clock.monotonic()
        except LogAwayError as error:
            logger.warning("no marks were set, tried again", error=str(error))
        except Exception:
            logger.exception("no marks were set, tried again")
        self._try_commit(durable=False)

    def commit(self) -> None:
        """Commits what is settled now, durably, and not in the next round.

        A careful process (R16) does so after each run: a start that found records of it again
        would use its short runs up on them.
        """
        self._try_commit(durable=True)

    def close(self) -> None:
        """Commits what is settled, durably, where the log takes it. Idempotent.

        On a full disk what else the process closes must not wait for it: the next start finds the
        outcomes of what was settled.
        """
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._try_commit(durable=True)

    def stop(self, tp: TopicPartition, reason: str) -> None:
        """Reads a partition no further, since mail was lost in it or could be sent twice (R4)."""
        self.stopped[tp] = reason
        logger.critical(
            "a partition is not read", flow=self.spec.name, tp=tp, reason=reason,
            see="sealwax doctor",
        )  # fmt: skip

    def _take_over(self) -> None:
        """Fences and reads back, until no owner before had an incarnation that is not below ours.

        They begin anew where the topic that they come from was made anew or cut; what is appended
        under one that is below a fence counts for nobody.
        """
        while True:
            self._append_fences()
            self._read_back()
            above = {n: at for n, at in self._earlier.items() if at >= self._incarnation(n)}
            if not above:
                return
            logger.warning("incarnations began anew, taken above", flow=self.spec.name, above=above)
            self._rise(above)

    def _append_fences(self) -> None:
        """Notes where they stand: a read-back ends at them, since what follows counts no more."""
        fences: defaultdict[str, list[Entry]] = defaultdict(list)
        for number, writer in self.writers.items():
            for output in self._outputs.get(number, ()):
                fences[output.topic].append(fence_entry(output.partition, writer))
        self._fences: defaultdict[TopicPartition, set[int]] = defaultdict(set)
        for topic, entries in fences.items():
            offsets = self.log.append_wait(topic, entries)
            for entry, offset in zip(entries, offsets, strict=True):
                self._fences[TopicPartition(topic, entry.partition)].add(offset)

    def _read_back(self) -> None:
        self._earlier: dict[int, int] = {}  # by number the newest incarnation of an owner before
        starts: defaultdict[TopicPartition, dict[int, Floor]] = defaultdict(dict)
        found: dict[TopicPartition, dict[int, set[tuple[str, int | None]]]] = {}
        outputs = {output for outputs in self._outputs.values() for output in outputs}
        firsts = self.log.start_offsets({*outputs, *self.sources})
        now_ends = self.log.end_offsets({*outputs, *self.sources})
        committed = self.log.committed_all(self.spec.name, self.sources)
        for tp in self.sources:
            at = committed[tp]
            stand, lives = self._stand(tp, at, firsts), self._lives(tp)
            if stand:
                self._note(Writer(self.spec.name, tp.partition, stand.writer), *stand.fences)
            outputs_of = self._outputs[tp.partition]
            reason = why_stopped(tp, at, stand, lives, outputs_of, (firsts, now_ends))
            if at is None and self.writers and tp.topic in self._anew(tp.partition):
                reason = MADE_ANEW
            if reason:
                self.stop(tp, reason)
            offset = at.offset if at else firsts[tp]
            ends = stand.ends if stand else tuple(firsts[output] for output in outputs_of)
            unsettled = offset < now_ends[tp] and not reason
            if unsettled or (self.writers and not reason):  # where all is settled, for the fences
                for output, end in zip(outputs_of, ends, strict=True):
                    floor = Floor(end, stand.writer if stand else 0)
                    floors = starts[output]
                    floors[tp.partition] = min(floor, floors.get(tp.partition, floor))
            if unsettled:
                found[tp] = defaultdict(set)
            else:
                ends = tuple(now_ends[output] for output in outputs_of)
                stand = stand and replace(stand, writer=self._incarnation(tp.partition))
            self._settlers[tp] = Settler(
                tp, offset, ends, stand=stand, writer=self._incarnation(tp.partition), lives=lives,
                held=self._held,
            )  # fmt: skip
        begun_at = clock.monotonic()
        scanned = self._scan(starts, now_ends, found)
        seconds = round(clock.monotonic() - begun_at, 1)
        logger.info("outputs read back", flow=self.spec.name, records=scanned, seconds=seconds)
        self._done = {
            tp: {offset: frozenset(markers) for offset, markers in offsets.items()}
            for tp, offsets in found.items()
        }
        # From the first mark on: a mark that passes outcomes of the last run before their records
        # are read again would hide them from the next start.
        for tp, done in self._done.items():
            self._settlers[tp].replaying = bool(done)

    def _note(self, *owners: Writer) -> None:
        """Takes in the incarnations of owners of our numbers before us, and of no others."""
        for flow, number, incarnation in owners:
            if flow == self.spec.name and number in self.writers:
                self._earlier[number] = max(incarnation, self._earlier.get(number, 0))

    def _anew(self, number: int) -> set[str]:
        """Topics that were deleted, with all that was committed of them, and made again."""
        if number not in self._made_anew:
            self._made_anew[number] = made_anew(self.log, self.spec.name, self._outputs[number])
        return self._made_anew[number]

    def _incarnation(self, number: int) -> int:
        return self.writers[number].incarnation if number in self.writers else 0

    def _lives(self, tp: TopicPartition) -> bytes:
        """Names these lives of the topics that a mark speaks of; nothing in a log of our own."""
        if not self.writers:
            return b""
        return lives_of(self.log, tp, self._outputs[tp.partition])

    def _stand(
        self,
        tp: TopicPartition,
        committed: Committed | None,
        firsts: Mapping[TopicPartition, int],
    ) -> Stand | None:
        """What was committed; without a usable mark the outputs are read whole."""
        if committed is None:
            return None
        try:
            stand = decode_stand(committed.metadata)
        except UnreadableRecordError as error:
            logger.warning("mark unreadable, outputs are read whole", tp=tp, error=str(error))
            return None
        found = fitting(stand, self._outputs[tp.partition], firsts)
        if found is None:
            logger.warning("mark of another layout, outputs are read whole", tp=tp)
        return found

    def _scan(
        self,
        starts: Mapping[TopicPartition, Mapping[int, Floor]],
        ends: Mapping[TopicPartition, int],
        found: Mapping[TopicPartition, Mapping[int, set[tuple[str, int | None]]]],
    ) -> int:
        """Takes in what the outputs hold of records that are not settled; how many it read."""
        fences, ranges = {}, {}
        for output, floors in starts.items():
            # A mark's writer had put its fence before the mark.
            known = [(number, floor.writer) for number, floor in floors.items() if floor.writer]
            fences[output] = Fences(output, [Writer(self.spec.name, *one) for one in known])
            ours = self._fences[output]
            start = min(floor.offset for floor in floors.values())
            end = max(ours, default=ends[output])
            if not ours.issuperset(range(start, end)):
                ranges[output] = start, end
        count = 0
        for record in self.log.scan_all(ranges):
            count += 1
            output = TopicPartition(record.topic, record.partition)
            if not fences[output].admits(record):
                fence = fence_of(record)
                if fence and record.offset not in self._fences[output]:
                    self._note(fence)
                continue
            parsed = source_of(record.headers)
            if parsed is None:
                continue
            position, rcpt_index = parsed
            tp = TopicPartition(position.topic, position.partition)
            if tp in found and position.offset >= self._settlers[tp].watermark:
                found[tp][position.offset].add((record.topic, rcpt_index))
        return count

    def _read_ends(self) -> dict[TopicPartition, int]:
        outputs = {output for outputs in self._outputs.values() for output in outputs}
        return dict(self.log.end_offsets(outputs))

    def _run(self) -> None:
        while not self._ended.wait(_COMMIT_EVERY_S):
            self.commit_round()

    def _try_commit(self, *, durable: bool) -> None:
        try:
            self._commit(durable=durable)
        except LogAwayError as error:
            logger.warning("commit failed, tried again", error=str(error))
        except Exception:
            # The log is away or full: settled offsets stay in memory and go with a later round.
            logger.exception("commit failed, tried again")

    def _is_owner(self) -> bool:
        return clock.since_boot() < self._valid_until()

    def _mark(self) -> None:
        ends = self._read_ends()
        if not self._is_owner():
            return  # outcomes of the next owner may stand before them, hidden from a start then
        for tp, settler in self._settlers.items():
            if not settler.replaying and settler.marks < _MAX_MARKS_BEHIND:
                settler.mark(tuple(ends[output] for output in self._outputs[tp.partition]))

    def _commit(self, *, durable: bool) -> None:
        with self._lock:
            moved = {}
            for tp, settler in self._settlers.items():
                point = None if tp in self.stopped else settler.commit_point()
                if point is not None:
                    moved[tp] = point
            # Asked after the points are made: what is settled later may have its outcomes behind
            # the fence of the next owner, whose commits must not be undone either.
            if moved and not self._is_owner():
                self._forget(moved)
            elif moved:
                try:
                    self.log.commit(self.spec.name, moved, durable=durable)
                except Exception:
                    self._forget(moved)
                    raise

    def _forget(self, moved: Iterable[TopicPartition]) -> None:
        for tp in moved:
            self._settlers[tp].forget_commit()
