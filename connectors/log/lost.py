"""Why a partition may not be read on: mail was lost in it, or could be sent twice (R4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from connectors.log.flow_spec import read_back_group
from connectors.log.growing import stretched
from connectors.log.port import Committed, Log, TopicPartition
from connectors.log.settle import Stand

MADE_ANEW = "its topic, or one that its outcomes go to, was deleted and made again"


def why_lost(committed: int | None, first: int, end: int) -> str:
    """Why a group may not go on in a partition: records are gone that it has not read.

    Args:
        committed: The group's offset, or None.
        first: The start of the partition.
        end: Its end.

    Returns:
        A sentence; empty where nothing is lost.
    """
    if committed is None:
        return f"no offset is committed, and it begins at {first}" if first else ""
    if committed < first:
        return f"records {committed} to {first - 1} were deleted before they were read"
    if committed > end:
        return f"it ends at {end}, below the committed offset {committed}: it was cut or made anew"
    return ""


def lives_of(log: Log, tp: TopicPartition, outputs: Sequence[TopicPartition]) -> bytes:
    """Names these lives of the topics that a mark speaks of: a partition's and its outputs'."""
    names = sorted({tp.topic, *(output.topic for output in outputs)})
    lives = "\n".join(log.incarnation(name) for name in names)
    return sha256(lives.encode()).digest()[:8]


def note_of_lives(log: Log, topics: Iterable[str]) -> str:
    """Names the lives of these topics, to be kept where it outlives them.

    A cluster drops the offsets of a topic that is deleted, and what they say of its life with them.
    """
    return " ".join(f"{topic}={_life(log, topic)}" for topic in sorted(topics))


def made_anew(log: Log, flow: str, outputs: Sequence[TopicPartition]) -> set[str]:
    """The sources of a flow that had another life when it last noted them.

    Args:
        log: The log.
        flow: The flow.
        outputs: Those of one partition number, beside whose read-back positions the note stands.
    """
    group = read_back_group(flow, outputs[0].partition)
    noted = {
        part
        for at in log.committed_all(group, outputs).values()
        if at is not None
        for part in at.metadata.split()
    }
    former = [part.split("=", 1) for part in noted]
    return {topic for topic, life in former if life != _life(log, topic)}


def _life(log: Log, topic: str) -> str:
    return sha256(log.incarnation(topic).encode()).hexdigest()[:8]


def fitting(
    stand: Stand, outputs: Sequence[TopicPartition], firsts: Mapping[TopicPartition, int]
) -> Stand | None:
    """A stand whose mark is of these outputs, also where they are more by now; else None."""
    if len(stand.ends) == len(outputs):
        return stand
    whole = tuple(firsts[output] for output in outputs)
    ends = stretched(outputs, stand.ends) if stand.ends else whole
    return None if ends is None else replace(stand, ends=ends)


def why_stopped(
    tp: TopicPartition,
    committed: Committed | None,
    stand: Stand | None,
    lives: bytes,
    outputs: Sequence[TopicPartition],
    bounds: tuple[Mapping[TopicPartition, int], Mapping[TopicPartition, int]],
) -> str:
    """Why a source partition may not be read on; empty where it may.

    Args:
        tp: The partition.
        committed: What the flow committed.
        stand: What that says, where it can be read.
        lives: Those of now; empty where the log has none.
        outputs: Where its outcomes stand, in the order of marks.
        bounds: Starts and ends of it and its outputs.
    """
    firsts, ends = bounds
    if stand and stand.lives and lives and stand.lives != lives:
        return MADE_ANEW
    lost = why_lost(None if committed is None else committed.offset, firsts[tp], ends[tp])
    if lost or firsts[tp] == ends[tp]:
        return lost
    marks = stand.ends if stand else (0,) * len(outputs)
    waits = committed is None or committed.offset < ends[tp]
    for output, mark in zip(outputs, marks, strict=True):
        if waits and mark < firsts[output]:
            return (
                f"{output.topic}/{output.partition} begins at {firsts[output]}: which of its "
                f"records were done since {mark} is not known any more"
            )
    return ""
