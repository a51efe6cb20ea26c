"""The topics of an installation: made at a start, compared then, mended by `topics apply` (R5)."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.reaching import reach
from connectors.log.kafka.replicas import TOOL
from connectors.log.kafka.settings import KafkaSettings
from connectors.log.port import Committed, Log, TopicPartition
from connectors.log.settle import BEGUN, decode_stand, encode_stand
from sealwax import clock
from sealwax.errors import ConfigurationError, LogAwayError, UnreadableRecordError
from sealwax.model.topics import ALL, ALL_OF_KAFKA, OWNERSHIP
from sealwax.policy.topic_layout import MOST_PARTITIONS, Difference, differences

APPLY = "sealwax topics apply"
_REPLICATION = "replication"
_HEARD_S = 2.0
_LOOK_EVERY_S = 0.1


def set_up(settings: KafkaSettings, log: Log) -> None:
    """Makes missing topics, and looks at those that are there; changes none of them.

    Raises:
        ConfigurationError: A topic is not as it has to be; names it, and the command that mends it.
            Or Kafka cannot be reached as it is set.
        LogAwayError: Kafka does not answer.
    """
    missing = reach(settings, settings.timeout)
    if missing is not None:
        raise (ConfigurationError if missing.mend else LogAwayError)(missing.said_of(settings))
    if isinstance(log, KafkaLog):
        _refuse_too_many(log)
    log.create_topics(ALL_OF_KAFKA)
    if isinstance(log, KafkaLog):
        wrong = _lasting_differences(log)
        if wrong:
            topic, found = next(iter(wrong.items()))
            more = f", and {len(wrong) - 1} more topics differ" if len(wrong) > 1 else ""
            raise ConfigurationError(
                f"topic {settings.namespace}{topic} has {found[0].what} {found[0].found!r} and "
                f"needs {found[0].wanted!r}{more}: {how_to_mend(wrong)}"
            )


def _lasting_differences(log: KafkaLog) -> dict[str, list[Difference]]:
    """Differences that are not of a moment: some brokers hear of new properties after others."""
    deadline, pause = clock.monotonic() + _HEARD_S, threading.Event()
    while (wrong := found_differences(log)) and clock.monotonic() < deadline:
        pause.wait(_LOOK_EVERY_S)
    return wrong


def how_to_mend(wrong: Mapping[str, Sequence[Difference]]) -> str:
    """What to do where topics differ: the commands."""
    few = any(one.what == _REPLICATION for found in wrong.values() for one in found)
    return f"run `{APPLY}`{f', and {TOOL} as it then says' if few else ''}"


def _refuse_too_many(log: KafkaLog) -> None:
    """Raises ConfigurationError where marks would not fit, so that nothing was ever committed."""
    there = log.topics.look_up([spec.name for spec in ALL_OF_KAFKA])
    number = max((topic.partitions for topic in there.values()), default=0)
    if number > MOST_PARTITIONS:
        raise ConfigurationError(
            f"the topics have {number} partitions and may have {MOST_PARTITIONS}: begin with new "
            "ones, by another SEALWAX_KAFKA_NAMESPACE"
        )


def found_differences(log: KafkaLog) -> dict[str, list[Difference]]:
    """By topic what is not as it has to be.

    The number of partitions that the topics have is right, whatever the settings say, as long as
    all have the same: it is chosen when they are made.
    """
    wanted = log.topics.wanted(ALL_OF_KAFKA)
    described = log.topics.describe(list(wanted))
    common = max((found.partitions for found in described.values()), default=0)
    compared = {
        name: differences(replace(wanted[name], partitions=common), found)
        for name, found in described.items()
    }
    return {name: found for name, found in compared.items() if found}


def apply(log: KafkaLog, partitions: int | None = None) -> Iterator[str]:
    """Makes missing topics and mends the others; yields a sentence for each change.

    The number of copies stays: `replicas.reassignment` says how it is changed.
    Flows may run meanwhile. They take new partition numbers over when the topic of their ownership
    has them: it grows last, when it is known where they begin. May be interrupted and repeated.

    Args:
        log: The log.
        partitions: So many for every topic; None to level them at the largest there is.

    Raises:
        ConfigurationError: It cannot be done: topics do not shrink.
    """
    wanted = log.topics.wanted(ALL_OF_KAFKA)
    described = log.topics.describe(list(wanted))
    most = max((found.partitions for found in described.values()), default=0)
    if partitions is not None and partitions < most:
        raise ConfigurationError(
            f"the topics have {most} partitions, and Kafka's topics do not get fewer"
        )
    number = partitions or most or log.settings.partitions
    owned = described[OWNERSHIP].partitions if OWNERSHIP in described else most
    for name in log.topics.create(ALL_OF_KAFKA, number):
        yield f"{name}: made"
    for name in sorted(described, key=lambda name: name == OWNERSHIP):
        if name == OWNERSHIP and owned < number:
            _begin(log, range(owned), range(owned, number))
        different = differences(replace(wanted[name], partitions=number), described[name])
        yield from _mend(log, name, different)


def _begin(log: Log, old: Sequence[int], new: Sequence[int]) -> None:
    """Commits that flows begin in new partitions.

    Without it they could not be told from old ones whose offsets were lost, which are not read
    where an output has let go of records already (R4).
    """
    tps = [TopicPartition(spec.name, n) for spec in ALL for n in (*old, *new)]
    starts = log.start_offsets(tps)
    for group in log.groups():
        committed = log.committed_all(group, tps)
        settled = {tp.topic for tp, at in committed.items() if at and _is_stand(at)}
        begun = {
            tp: Committed(0, encode_stand(BEGUN))
            for tp, at in committed.items()
            if at is None and tp.partition in new and tp.topic in settled and not starts[tp]
        }
        if begun:
            log.commit(group, begun)


def _is_stand(committed: Committed) -> bool:
    try:
        decode_stand(committed.metadata)
    except UnreadableRecordError:
        return False
    return True


def _mend(log: KafkaLog, name: str, found: list[Difference]) -> Iterator[str]:
    properties: Mapping[str, str] = {
        difference.what: difference.wanted
        for difference in found
        if difference.what not in ("partitions", _REPLICATION)
    }
    if properties:
        log.topics.configure(name, properties)
    for difference in found:
        if difference.what == "partitions":
            log.topics.grow(name, int(difference.wanted))
        if difference.what != _REPLICATION:
            yield f"{name}: {difference.what} {difference.found!r} -> {difference.wanted!r}"
