"""`sealwax doctor`: what stands in the way of the mail, as far as the disk and the log can say."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sealwax import clock
from sealwax.cli.log_report import report_log, spans
from sealwax.cli.output import complain, say, say_table
from sealwax.config import Settings, load
from sealwax.config.environment import warnings_of
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
    """Show the clock, the disk, the log, who works on what, and the oldest mail of each flow.

    Works with and without a running platform, and changes nothing but what a flag asks for.
    """
    settings = load()
    for warning in warnings_of(settings):
        complain(warning)
    file = ClockFile(settings.data_dir)
    if accept_clock:
        file.accept()
    say(f"clock   {_clock(file)}")
    if settings.data_dir.is_dir():
        _report_machine(settings)
    else:
        say(f"data    {settings.data_dir} is not there yet: `sealwax up` makes it")
    if settings.has_log:
        report_log(settings.log)


def _report_machine(settings: Settings) -> None:
    say(f"disk    {_disk(settings)}")
    holders: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for flow, partition, pid in _holders(settings.data_dir / "locks"):
        holders[flow, pid].append(partition)
    say(f"locks   {'held as follows' if holders else 'nobody works on this data directory'}")
    if holders:
        rows = [(flow, spans(numbers), pid) for (flow, pid), numbers in holders.items()]
        say_table(("flow", "partitions", "process"), rows)


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


def _holders(locks: Path) -> Iterator[tuple[str, int, str]]:
    """Flow, partition and pid of every lock that is held, without touching any of them."""
    held = dict(_flocks())
    for path in sorted(locks.glob("*.*")):
        pid = held.get(path.stat().st_ino)
        flow, _, partition = path.name.rpartition(".")
        if pid is not None and partition.isdecimal():
            yield flow, int(partition), pid


def _flocks() -> Iterator[tuple[int, str]]:
    """Inode and pid of every file lock of the machine (proc_locks(5))."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK":  # noqa: PLR2004 - the fields used below
            yield int(fields[5].rpartition(":")[2]), fields[4]
