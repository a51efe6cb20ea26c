"""What `sealwax doctor` says of the log."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import groupby

from connectors.clickhouse import lost
from connectors.log import KafkaSettings, LogSettings, open_log, specs
from connectors.log.looking import leases, stopped, unsettled
from connectors.log.port import Log
from sealwax import clock
from sealwax.cli.output import plain, say, say_table
from sealwax.errors import LogAwayError

FLOWS = ("render", "dispatch", "analytics")
# Whoever asks what is wrong does not wait long for what does not answer.
_PATIENCE = timedelta(seconds=5)


def report_log(settings: LogSettings | KafkaSettings) -> None:
    """Says where the log is, who works on it, and what is not settled.

    Raises:
        LogAwayError: It does not answer.
        ConfigurationError: The Kafka client does not take its properties.
    """
    if isinstance(settings, KafkaSettings):
        settings = replace(settings, timeout=min(_PATIENCE, settings.timeout), gives_up=True)
        _say_where(settings)
    else:
        say(f"log     {settings.directory}")
    log = open_log(settings)
    try:
        if not isinstance(settings, KafkaSettings) or _report_cluster(log):
            _report_flows(log)
    finally:
        log.close()


def spans(numbers: Iterable[int]) -> str:
    """Numbers with runs of them folded: `0-3, 7`."""
    runs = groupby(enumerate(sorted(set(numbers))), lambda pair: pair[1] - pair[0])
    folded = [[number for _, number in run] for _, run in runs]
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in folded)


def _say_where(settings: KafkaSettings) -> None:
    from connectors.log.kafka.reaching import reach  # noqa: PLC0415 - takes a tenth of a second

    where = f"Kafka at {settings.bootstrap}"
    if settings.namespace:
        where += f", names begin with {settings.namespace}"
    missing = reach(settings, _PATIENCE)
    if missing is None:
        say(f"log     {where}: it answers")
        return
    say(f"log     {where}: NO ANSWER: {plain(missing.reason)}")
    raise LogAwayError(
        f"Kafka cannot be reached{f'; look at {missing.mend}' if missing.mend else ''}"
    )


def _report_cluster(log: Log) -> bool:
    """Says what is wrong with topics, and who owns what; whether all topics are there."""
    from connectors.log.kafka.log import KafkaLog  # noqa: PLC0415 - as above
    from connectors.log.kafka.owners import owners  # noqa: PLC0415 - as above
    from connectors.log.kafka.setup import found_differences, how_to_mend  # noqa: PLC0415 - as above
    from sealwax.model.topics import ALL_OF_KAFKA  # noqa: PLC0415 - beside its use

    if not isinstance(log, KafkaLog):
        return True
    names = [spec.name for spec in ALL_OF_KAFKA]
    missing = set(names) - log.topics.look_up(names).keys()
    if missing:
        say(f"topics  {len(missing)} of {len(names)} are not there yet: a start makes them")
        return False
    differing = found_differences(log)
    if differing:
        say(f"topics  differ from what is needed: {how_to_mend(differing)}")
        rows = [
            (name, one.what, one.found, one.wanted)
            for name, found in differing.items()
            for one in found
        ]
        say_table(("topic", "what", "is", "should be"), rows)
    else:
        say("topics  are as they have to be")
    processes = owners(log, *FLOWS)
    say(f"owners  {'of partitions, in the whole cluster:' if processes else 'no flow runs'}")
    if processes:
        rows = [
            (one.flow, spans(one.numbers) or "none", plain(one.host), plain(one.instance))
            for one in processes
        ]
        say_table(("flow", "partitions", "machine", "instance"), rows)
    return True


def _report_flows(log: Log) -> None:
    halted = [
        (spec.name, f"{tp.topic}/{tp.partition}", plain(reason))
        for spec in (specs.render(log), specs.dispatch())
        for tp, reason in stopped(log, spec).items()
    ]
    rows_lost = lost.stopped(log)
    halted += [
        ("analytics", f"{tp.topic}/{tp.partition}", plain(reason))
        for tp, reason in rows_lost.items()
    ]
    if halted:
        say("STOPPED these partitions are not read, see docs/operations.md:")
        say_table(("flow", "partition", "why"), halted)
    if rows_lost:
        say(f"        analytics goes on in all of them after `{lost.MEND}`; no mail is lost by it")
    say(
        f"leases  {leases(log)} stand for attempts that take long, or that were lost with a process"
    )
    rows = [(one.flow, str(one.records), _age(one.oldest_ms)) for one in unsettled(log)]
    say(f"mail    {'oldest that is not settled:' if rows else 'all is settled'}")
    if rows:
        say_table(("flow", "records", "oldest"), rows)


def _age(stamp_ms: int | None) -> str:
    if stamp_ms is None:
        return "not known"
    return f"{timedelta(seconds=max(0, clock.now_ms() - stamp_ms) // 1_000)} ago"
