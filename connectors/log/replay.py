"""Giving dead records back to the topic that they came from, once."""

from collections.abc import Iterator, Sequence

from connectors.log.body import BodyLostError
from connectors.log.dead import Dead, read_dead
from connectors.log.fences import admitted
from connectors.log.port import Entry, Log, TopicPartition
from connectors.log.settle import FIRST_POSITION, parse_source_header, source_header
from sealwax.errors import RecordTooLargeError, SealwaxError, UnreadableRecordError
from sealwax.model.delivery import Position
from sealwax.model.topics import DEAD, READY, REQUESTED, RETRY

# Header of a record that was replayed: the dead record that it was.
REPLAY_OF = "replay-of"
_TOPICS_OF_FLOW = {"render": REQUESTED, "dispatch": (*READY, *RETRY)}


class ReplayRefusedError(SealwaxError):
    """A dead record is not given back; the text says why."""


def partitions_of_dead(log: Log) -> Sequence[TopicPartition]:
    """The partitions of `email.dead`; none where the topic was never made."""
    try:
        return [TopicPartition(DEAD, n) for n in range(log.partitions(DEAD))]
    except KeyError:
        return []


def dead_records(log: Log, tp: TopicPartition) -> Iterator[Dead | Position]:
    """What a partition of `email.dead` holds, oldest first; the position of what no flow wrote."""
    records = log.scan(tp, log.start_offset(tp), log.end_offset(tp))
    for record in admitted(records, tp):
        try:
            yield read_dead(record)
        except UnreadableRecordError:
            yield Position(record.topic, record.partition, record.offset)


def dead_record(log: Log, partition: int, offset: int) -> Dead | None:
    """One of them; None where there is none.

    Raises:
        UnreadableRecordError: No flow wrote it.
    """
    tp = TopicPartition(DEAD, partition)
    if tp not in partitions_of_dead(log):
        return None
    record = next(log.scan(tp, offset, offset + 1), None)
    return None if record is None else read_dead(record)


def refuse(log: Log, dead: Dead) -> None:
    """Says why a record cannot be given back.

    Raises:
        ReplayRefusedError: It cannot.
    """
    topic, partition, _ = dead.source
    if topic in _TOPICS_OF_FLOW.get(dead.flow, ()) and 0 <= partition < log.partitions(topic):
        if dead.reason == "unauthenticated":
            raise ReplayRefusedError(
                "its sender is not known, and API keys are not kept here: its producer must send "
                "it again, with a valid key"
            )
        if dead.cut:
            raise ReplayRefusedError(
                f"it is not kept whole, it lacks {dead.cut}: its producer must send it again with "
                "less; `sealwax dead show --raw` writes its value"
            )
        return
    if dead.flow == "analytics":
        raise ReplayRefusedError(
            "only analytics could not store it; the mail that it tells of went its way, and other "
            "flows have read it"
        )
    raise ReplayRefusedError(
        f"it says that it came from {topic}/{partition} and was put aside by "
        f"{dead.flow or 'nobody'}, which reads no such place"
    )


def replayed(log: Log, source: TopicPartition) -> dict[Position, Position]:
    """Dead record -> where it was given back, for one partition that dead records came from.

    Known for as long as the records that were given back are in their topic.
    """
    found: dict[Position, Position] = {}
    for record in log.scan(source, log.start_offset(source), log.end_offset(source)):
        for name, value in record.headers:
            parsed = parse_source_header(value) if name == REPLAY_OF else None
            if parsed is not None:
                found[parsed[0]] = Position(record.topic, record.partition, record.offset)
    return found


def replay(log: Log, dead: Dead) -> Position:
    """Appends a dead record to the topic that it came from, with its own key and headers.

    Returns:
        Where it stands now.

    Raises:
        ReplayRefusedError: It cannot be given back, see `refuse`; its value is lost, or larger than
            its topic takes from us.
    """
    refuse(log, dead)
    names = {name for name, _ in dead.headers}
    first = () if FIRST_POSITION in names else ((FIRST_POSITION, source_header(dead.source)),)
    headers = (
        *((name, value) for name, value in dead.headers if name != REPLAY_OF),
        *first,
        (REPLAY_OF, source_header(dead.at)),
    )
    topic, partition, _ = dead.source
    try:
        entry = Entry(partition, dead.key, dead.value(log), headers)
        (offset,) = log.append_wait(topic, [entry])
    except (BodyLostError, RecordTooLargeError) as error:
        raise ReplayRefusedError(str(error)) from error
    return Position(topic, partition, offset)
