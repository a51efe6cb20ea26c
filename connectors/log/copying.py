"""Moving the embedded log into a Kafka cluster: records, offsets, and how far each group is.

Records name one another by their offsets (outcomes, marks, leases, rows in ClickHouse, claims), so
every record keeps its own. Kafka numbers what it is given from 0; where the source begins later, or
compaction has left a gap, placeholders take the offsets in between, and those below the start are
deleted again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

import msgspec

from connectors.log.kafka.filling import Filler, end_filling, make_to_fill
from connectors.log.kafka.groups import MEMBERS
from connectors.log.kafka.log import KafkaLog
from connectors.log.port import Committed, Log, Record, TopicPartition
from sealwax import clock
from sealwax.errors import ConfigurationError, SealwaxError
from sealwax.model.topics import ALL, EVENTS, TopicSpec

# A tombstone of a key that nothing has: compaction removes those that stay.
_KEY = b"\0sealwax-placeholder"
_LEAST_STAMP_MS = 1  # 0 would be the present, to Kafka's client
_SAY_EVERY_S = 2.0
_LOOK_EACH = 1_000
# What a copy that was killed had sent is stored long before.
_QUIET_S = 3.0

Say = Callable[[str], None]
Sleep = Callable[[float], object]
Ranges = dict[TopicPartition, tuple[int, int]]


class CopyError(SealwaxError):
    """What stands in Kafka is not what the copy put there."""


class LogCopy:
    """One copy. Nobody may append to the source, or use the target, meanwhile.

    May be killed at any time and made again: it goes on where the last one stopped, after it has
    found that everything before is the same in both.
    """

    def __init__(self, source: Log, target: KafkaLog, say: Say, sleep: Sleep) -> None:
        """Takes the two logs; the target's settings have the source's number of partitions.

        Args:
            source: The embedded log, of which nothing changes.
            target: The log in the cluster.
            say: Is told how far it is.
            sleep: Waits so many seconds.
        """
        self._source = source
        self._target = target
        self._say = say
        self._sleep = sleep
        self._ranges = ranges(source)
        self._done = 0
        self._said_at = clock.monotonic()
        self._total = sum(end for _, end in self._ranges.values())

    def run(self) -> int:
        """Copies, compares, and commits what the groups had committed; how many records.

        Raises:
            ConfigurationError: The target is not to be filled: it is in use, has other topics.
            CopyError: The two logs differ.
            LogAwayError: Kafka does not answer, or does not take a record.
        """
        self._refuse_members()
        self._prepare()
        filler = Filler(self._target.settings)
        for tp in self._ranges:
            self._fill(filler, tp)
        records = self._compare()
        if ranges(self._source) != self._ranges:
            raise CopyError("something was appended to the embedded log meanwhile: copy again")
        self._commit()
        # Last: until then a start refuses the topics.
        end_filling(self._target)
        return records

    def _refuse_members(self) -> None:
        working = self._target.members()
        if working:
            flow = working[0].removesuffix(MEMBERS)
            raise ConfigurationError(
                f"flow {flow} runs on the target, or has just ended: stop it, and wait for "
                "SEALWAX_KAFKA_SESSION_TIMEOUT"
            )

    def _prepare(self) -> None:
        """Makes the topics, and looks at what is there."""
        names = list(dict.fromkeys(tp.topic for tp in self._ranges))
        number = self._target.settings.partitions
        there = self._target.topics.look_up([spec.name for spec in ALL])
        for name, topic in there.items():
            if topic.partitions != number:
                raise ConfigurationError(
                    f"topic {self._named(name)} has {topic.partitions} partitions and the embedded "
                    f"log {number}, which each record keeps: delete the topics, the copy makes them"
                )
        if there:
            self._wait_until_quiet([tp for tp in self._ranges if tp.topic in there])
            for tp in self._ranges:
                if tp.topic in there:
                    self._look_at(tp)
        make_to_fill(self._target, names, number)
        if len(there) > 0:
            self._sleep(_QUIET_S)  # until all brokers know how stamps are made from now on

    def _wait_until_quiet(self, tps: Sequence[TopicPartition]) -> None:
        ends = self._target.end_offsets(tps)
        while True:
            self._sleep(_QUIET_S)
            before, ends = ends, self._target.end_offsets(tps)
            if ends == before:
                return

    def _look_at(self, tp: TopicPartition) -> None:
        """Raises CopyError where the target holds what the source does not."""
        first, end = self._ranges[tp]
        low, high = self._target.start_offset(tp), self._target.end_offset(tp)
        if not high:
            return
        same = low <= first and high <= end
        if not same or not self._same(tp, low, high):
            raise CopyError(
                f"topic {self._named(tp.topic)} holds something else than a copy of this log: "
                "where no flow ever ran on the topics, delete them in Kafka, and copy again"
            )

    def _fill(self, filler: Filler, tp: TopicPartition) -> None:
        first, end = self._ranges[tp]
        position = self._target.end_offset(tp)
        self._done += position
        for n, record in enumerate(self._expected(tp, position, end)):
            filler.append(record)
            if n % _LOOK_EACH == 0:
                self._tell(tp, n)
        filler.flush()
        self._done += end - position
        reached = self._target.end_offset(tp)
        if reached != end:
            raise CopyError(f"{self._named(tp.topic)}/{tp.partition} ends at {reached}, not {end}")
        self._target.delete_before(tp, first)

    def _expected(self, tp: TopicPartition, start: int, end: int) -> Iterator[Record]:
        """What the target has to hold at these offsets, one by one."""
        stamp_ms, offset = _LEAST_STAMP_MS, start
        spec = next(spec for spec in ALL if spec.name == tp.topic)
        for record in self._source.scan(tp, start, end):
            yield from _placeholders(tp, offset, record.offset, stamp_ms)
            if record.offset > max(offset, self._ranges[tp][0]) and not spec.compacted:
                raise CopyError(f"the embedded log lacks {tp.topic}/{tp.partition}/{offset}")
            yield record
            offset, stamp_ms = record.offset + 1, record.stamp_ms
        yield from _placeholders(tp, offset, end, stamp_ms)

    def _compare(self) -> int:
        self._say("comparing")
        records = 0
        for tp, (first, end) in self._ranges.items():
            if not self._same(tp, first, end):
                raise CopyError(
                    f"{self._named(tp.topic)}/{tp.partition} is not the same: copy anew"
                )
            records += end - first
        return records

    def _same(self, tp: TopicPartition, start: int, end: int) -> bool:
        """Whether the number of records and the SHA-256 over all of them are the same."""
        expected = digest(_without_placeholders(self._expected(tp, start, end)))
        return expected == digest(_without_placeholders(self._target.scan(tp, start, end)))

    def _commit(self) -> None:
        for group, positions in positions_of(self._source).items():
            if positions:
                self._target.commit(group, positions)

    def _tell(self, tp: TopicPartition, more: int) -> None:
        if clock.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = clock.monotonic()
            self._say(
                f"{self._done + more:>12,} of {self._total:,} offsets, now in {tp.topic}, "
                f"partition {tp.partition}"
            )

    def _named(self, topic: str) -> str:
        return self._target.settings.namespace + topic


def ranges(log: Log) -> Ranges:
    """First offset and end of every partition that the log has."""
    tps = [TopicPartition(spec.name, n) for spec in ALL for n in range(_partitions(log, spec))]
    starts, ends = log.start_offsets(tps), log.end_offsets(tps)
    return {tp: (starts[tp], ends[tp]) for tp in tps}


def partitions_of(log: Log) -> int:
    """How many partitions the topics of a log have. Raises ConfigurationError: none."""
    number = _partitions(log, TopicSpec(EVENTS))
    if not number:
        raise ConfigurationError("the embedded log has no topics: nothing is to be copied")
    return number


def positions_of(log: Log) -> dict[str, dict[TopicPartition, Committed]]:
    """By group what it committed."""
    tps = list(ranges(log))
    return {
        group: {tp: at for tp, at in log.committed_all(group, tps).items() if at is not None}
        for group in log.groups()
    }


def digest(records: Iterable[Record]) -> tuple[int, str]:
    """The number of records, and the SHA-256 over all that they are."""
    hashed, count = sha256(), 0
    for record in records:
        hashed.update(msgspec.msgpack.encode(record))
        count += 1
    return count, hashed.hexdigest()


def _partitions(log: Log, spec: TopicSpec) -> int:
    try:
        return log.partitions(spec.name)
    except KeyError:
        return 0


def _placeholders(tp: TopicPartition, start: int, end: int, stamp_ms: int) -> Iterator[Record]:
    for offset in range(start, end):
        yield Record(*tp, offset, _KEY, None, (), stamp_ms)


def _without_placeholders(records: Iterable[Record]) -> Iterator[Record]:
    """An offset of one is known by those of its neighbours; compaction may have removed it."""
    return (record for record in records if record.key != _KEY or record.value is not None)
