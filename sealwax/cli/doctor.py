"""`sealwax doctor`: what stands in the way of the mail, as far as a look at the disk can say."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from connectors.log import open_log
from connectors.log.flow_spec import is_read_back_group
from connectors.log.port import Log, TopicPartition
from connectors.smtp.leases import lease_of
from sealwax import clock
from sealwax.cli.output import complain, say, say_table
from sealwax.config import Settings, load
from sealwax.config.environment import warnings_of
from sealwax.model import topics
from sealwax.store.clock_file import ClockFile


def doctor(
    *,
    accept_clock: Annotated[
        bool,
        Parameter(
            name="--accept-clock",
            negative=(),
            help="Trust the clock as it is now: mail past its give-up time expires again.",
        ),
    ] = False,
) -> None:
    """Show the clock, the disk, who holds which lock, and the oldest mail of each flow.

    Works with and without a running platform, and changes nothing but what a flag asks for.
    """
    settings = load()
    for warning in warnings_of(settings):
        complain(warning)
    file = ClockFile(settings.data_dir)
    if accept_clock:
        file.accept()
    say(f"clock   {_clock(file)}")
    if not settings.data_dir.is_dir():
        say(f"data    {settings.data_dir} is not there yet: `sealwax up` makes it")
        return
    say(f"disk    {_disk(settings)}")
    holders = list(_holders(settings.data_dir / "locks"))
    say(f"locks   {'held as follows' if holders else 'nobody works on this data directory'}")
    if holders:
        say_table(("flow", "partition", "process"), holders)
    if settings.has_log:
        with closing(open_log(settings.log)) as log:
            rows = list(_oldest(log))
            leases = _leases(log)
        say(f"leases  {leases} stand for attempts that take long, or that were lost with a process")
        say(f"mail    {'oldest that is not settled:' if rows else 'all is settled'}")
        if rows:
            say_table(("flow", "records", "oldest"), rows)


def _clock(file: ClockFile) -> str:
    now = clock.now().isoformat(timespec="seconds")
    suspicion = file.suspicion()
    if suspicion is None:
        return f"{now}, trusted"
    step = timedelta(seconds=suspicion.step_ms // 1000)
    seen_at = datetime.fromtimestamp(suspicion.seen_at_ms / 1000, tz=UTC)
    since = seen_at.isoformat(timespec="seconds")
    return (
        f"{now}, NOT trusted: it went forward by {step} to {since}. "
        "No mail expires until ten minutes have shown it right. Where it is right, say "
        "`sealwax doctor --accept-clock`; else set it back"
    )


def _disk(settings: Settings) -> str:
    free, least = shutil.disk_usage(settings.data_dir).free, settings.min_free_bytes
    state = "the API takes mail" if free >= least else "TOO FULL, the API takes no mail"
    return f"{free >> 20} MB free, {least >> 20} MB are kept free: {state}"


def _holders(locks: Path) -> Iterator[tuple[str, str, str]]:
    """Flow, partition and pid of every lock that is held, without touching any of them."""
    held = dict(_flocks())
    for path in sorted(locks.glob("*.*")):
        pid = held.get(path.stat().st_ino)
        if pid is not None:
            flow, _, partition = path.name.rpartition(".")
            yield flow, partition, pid


def _flocks() -> Iterator[tuple[int, str]]:
    """Inode and pid of every file lock of the machine (proc_locks(5))."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK":  # noqa: PLR2004 - the fields used below
            yield int(fields[5].rpartition(":")[2]), fields[4]


def _leases(log: Log) -> int:
    """Leases that dispatch has not settled."""
    count = 0
    for topic in topics.RETRY:
        for number in range(log.partitions(topic)):
            tp = TopicPartition(topic, number)
            committed = log.committed("dispatch", tp)
            start = committed.offset if committed else log.start_offset(tp)
            records = log.scan(tp, start, log.end_offset(tp))
            count += sum(lease_of(record) is not None for record in records)
    return count


def _oldest(log: Log) -> Iterator[tuple[str, str, str]]:
    """By flow: how many records are not settled, and how long the oldest was appended ago."""
    for flow in log.groups():
        if is_read_back_group(flow):
            continue
        stamps_ms, records = [], 0
        for spec in topics.ALL:
            for number in range(log.partitions(spec.name)):
                tp = TopicPartition(spec.name, number)
                committed = log.committed(flow, tp)
                if committed is None or not (lag := log.lag(flow, tp)):
                    continue
                records += lag
                with closing(log.reader(tp, committed.offset)) as reader:
                    stamps_ms += [record.stamp_ms for record in reader.read(1, 1)]
        if stamps_ms:
            age = timedelta(seconds=max(0, clock.now_ms() - min(stamps_ms)) // 1000)
            yield flow, str(records), f"{age} ago"
