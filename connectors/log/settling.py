"""What a process knows of all the partitions that its flow reads: settlers, read-back, commits."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from connectors.log.port import Committed, Log, TopicPartition
from connectors.log.settle import Ends, Settler, decode_mark, source_of
from connectors.log.suspects import Suspects
from sealwax import clock
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position

# Of one source record: the outcomes that are durable already, as (output topic, recipient index).
Done = frozenset[tuple[str, int | None]]

_COMMIT_EVERY_S = 0.2
_ENDS_EVERY_S = 0.5
_MAX_MARKS_BEHIND = 1_000
_READ_BACK = ".readback."

logger = structlog.get_logger(__name__)


def read_back_group(flow: str, number: int) -> str:
    """The group whose positions say how far back a start of the flow reads its outputs.

    Of its source partitions of one number, since processes own numbers.
    """
    return f"{flow}{_READ_BACK}{number}"


def is_read_back_group(group: str) -> bool:
    """Whether a group is one of those, and no flow."""
    return _READ_BACK in group


@dataclass(frozen=True, slots=True)
class FlowSpec:
    """What a flow reads and where its outcomes go.

    Attributes:
        name: Its group in the log.
        shares: Source topics, with the part of the process's reading window that each one gets.
        outputs: Partition number -> the output partitions in which outcomes of records of that
            number can stand, in a fixed order (a change makes old marks unreadable).
        hold_ms: Delay topics: how long a record stays in one, counted from its stamp.
        window_records: Records that the process holds unsettled at most.
        window_bytes: Bytes of values that it holds unsettled at most.
    """

    name: str
    shares: Mapping[str, int]
    outputs: Callable[[int], Sequence[TopicPartition]]
    hold_ms: Mapping[str, int] = field(default_factory=dict)
    window_records: int = 50_000
    window_bytes: int = 256 * 1024 * 1024


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
        timer: bool = True,
    ) -> None:
        """Opens the partitions `numbers` of every source topic; ownership must be held.

        With `suspects` records that kill the process are found and put aside (R16). Without `timer`
        no thread commits, and the caller calls `commit_round` in its place.
        """
        self.log = log
        self.spec = spec
        self.suspects = suspects
        self.sources = [TopicPartition(topic, n) for topic in sorted(spec.shares) for n in numbers]
        self.acks: deque[Position] = deque()  # source records whose outcomes are durable
        self._settlers: dict[TopicPartition, Settler] = {}
        self._done: dict[TopicPartition, dict[int, Done]] = {}
        self._outputs = {n: tuple(spec.outputs(n)) for n in numbers}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._marked_at = float("-inf")
        self._read_back()
        if suspects is not None:
            suspects.begin(
                {tp: settler.watermark for tp, settler in self._settlers.items()},
                {tp: log.end_offset(tp) for tp in self.sources},
            )
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        if timer:
            self._thread.start()

    def settler(self, tp: TopicPartition) -> Settler:
        """The settler of a source partition."""
        return self._settlers[tp]

    @property
    def unsettled(self) -> int:
        """Records that were handed out and are not settled yet."""
        return sum(settler.unsettled for settler in self._settlers.values())

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
            self._settlers[TopicPartition(topic, partition)].settle((offset,))
        self._commit(durable=True)

    def commit_floors(self) -> None:
        """Commits, durably, how far back a start would read the outputs: retention goes by it."""
        self._commit(durable=True)
        for number, outputs in self._outputs.items():
            floors = [s.floor for tp, s in self._settlers.items() if tp.partition == number]
            known = [floor for floor in floors if floor is not None]
            if len(known) == len(floors):
                lowest = [min(ends) for ends in zip(*known, strict=True)]
                positions = {tp: Committed(end) for tp, end in zip(outputs, lowest, strict=True)}
                self.log.commit(read_back_group(self.spec.name, number), positions, durable=True)

    def commit_round(self) -> None:
        """What the timer does each time: sets marks when it is time for them, and commits."""
        try:
            if clock.monotonic() - self._marked_at >= _ENDS_EVERY_S:
                self._mark()
                self._marked_at = clock.monotonic()
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

    def _read_back(self) -> None:
        starts: dict[TopicPartition, int] = {}
        found: dict[TopicPartition, dict[int, set[tuple[str, int | None]]]] = {}
        now_ends = self._read_ends()
        for tp in self.sources:
            committed = self.log.committed(self.spec.name, tp)
            offset, ends = self._start_of(tp, committed)
            outputs = self._outputs[tp.partition]
            if offset < self.log.end_offset(tp):
                found[tp] = defaultdict(set)
                for output, end in zip(outputs, ends, strict=True):
                    starts[output] = min(end, starts.get(output, end))
            else:
                ends = tuple(now_ends[output] for output in outputs)
            self._settlers[tp] = Settler(tp, offset, ends)
        begun_at = clock.monotonic()
        scanned = sum(
            self._scan(output, start, now_ends[output], found) for output, start in starts.items()
        )
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

    def _start_of(self, tp: TopicPartition, committed: Committed | None) -> tuple[int, Ends]:
        """Watermark and mark to start from; without a usable mark the outputs are read whole."""
        outputs = self._outputs[tp.partition]
        whole = tuple(self.log.start_offset(output) for output in outputs)
        if committed is None:
            return self.log.start_offset(tp), whole
        try:
            ends = decode_mark(committed.metadata)
        except UnreadableRecordError as error:
            logger.warning("mark unreadable, outputs are read whole", tp=tp, error=str(error))
            return committed.offset, whole
        if len(ends) != len(outputs):
            logger.warning("mark of another layout, outputs are read whole", tp=tp)
            return committed.offset, whole
        return committed.offset, ends

    def _scan(
        self,
        output: TopicPartition,
        start: int,
        end: int,
        found: Mapping[TopicPartition, Mapping[int, set[tuple[str, int | None]]]],
    ) -> int:
        """Takes in what one output holds of records that are not settled; how many it read."""
        count = 0
        for record in self.log.scan(output, start, end):
            count += 1
            parsed = source_of(record.headers)
            if parsed is None:
                continue
            position, rcpt_index = parsed
            tp = TopicPartition(position.topic, position.partition)
            if tp in found and position.offset >= self._settlers[tp].watermark:
                found[tp][position.offset].add((output.topic, rcpt_index))
        return count

    def _read_ends(self) -> dict[TopicPartition, int]:
        outputs = {output for outputs in self._outputs.values() for output in outputs}
        return {output: self.log.end_offset(output) for output in outputs}

    def _run(self) -> None:
        while not self._ended.wait(_COMMIT_EVERY_S):
            self.commit_round()

    def _try_commit(self, *, durable: bool) -> None:
        try:
            self._commit(durable=durable)
        except Exception:
            # The log is away or full: settled offsets stay in memory and go with a later round.
            logger.exception("commit failed, tried again")

    def _mark(self) -> None:
        ends = self._read_ends()
        for tp, settler in self._settlers.items():
            if not settler.replaying and settler.marks < _MAX_MARKS_BEHIND:
                settler.mark(tuple(ends[output] for output in self._outputs[tp.partition]))

    def _commit(self, *, durable: bool) -> None:
        with self._lock:
            moved = {}
            for tp, settler in self._settlers.items():
                point = settler.commit_point()
                if point is not None:
                    moved[tp] = point
            if moved:
                try:
                    self.log.commit(self.spec.name, moved, durable=durable)
                except Exception:
                    for tp in moved:
                        self._settlers[tp].forget_commit()
                    raise
