"""`sealwax dead`: records that could not be processed."""

import base64
import heapq
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import App, Parameter

from connectors.log import open_log
from connectors.log.dead import Dead
from connectors.log.port import Log, TopicPartition
from connectors.log.replay import (
    ReplayRefusedError,
    dead_record,
    dead_records,
    partitions_of_dead,
    refuse,
    replay,
    replayed,
)
from connectors.records import iso
from sealwax.cli.alone import NOT_ALONE, Alone, alone
from sealwax.cli.options import Json
from sealwax.cli.output import complain, plain, say, say_json, say_table
from sealwax.config import Settings, load
from sealwax.config.environment import warnings_of
from sealwax.errors import ConfigurationError, SealwaxError, UnreadableRecordError
from sealwax.model.delivery import Position

app = App(name="dead", help="Records that could not be processed: list, show, replay.")

_MOST_SHOWN = 64 * 1024  # characters of a value
_HEADINGS = ("id", "time (UTC)", "reason", "tenant", "from", "detail")

Id = Annotated[str, Parameter(help="As `list` prints it: partition/offset.")]


@app.command(name="list")
def list_(
    *,
    reason: Annotated[str | None, Parameter(help="Only those with this reason.")] = None,
    limit: Annotated[int, Parameter(help="The newest so many.")] = 50,
    json: Json = False,
) -> None:
    """List the records that could not be processed, oldest first."""
    with _opened() as (_, log):
        foreign: list[Position] = []
        found = heapq.nlargest(max(0, limit), _all(log, reason, foreign), key=_by_time)
        dead = [_summary(each) for each in reversed(found)]
    if json:
        say_json({"data": dead})
        return
    say_table(
        _HEADINGS,
        [
            tuple(plain(str(d[key])) for key in ("id", "at", "reason", "tenant", "topic", "detail"))
            for d in dead
        ],
    )
    if foreign:
        complain(
            f"{len(foreign)} records of email.dead were written by no flow; they are not listed"
        )


@app.command
def show(
    record_id: Id,
    /,
    *,
    raw: Annotated[
        bool, Parameter(negative=(), help="Write the value's bytes to standard output.")
    ] = False,
    json: Json = False,
) -> None:
    """Show one record: why it is here, its headers, its value."""
    if raw and sys.stdout.isatty():
        raise ConfigurationError("--raw writes bytes as they are: send them to a file or a pipe")
    with _opened() as (_, log):
        dead = _found(log, record_id)
        value = dead.value(log)
        again = _before(log, dead)
    if raw:
        sys.stdout.buffer.write(value or b"")
        sys.stdout.buffer.flush()
        return
    if json:
        say_json({**_summary(dead), **_content(dead, value), "replayed_as": _place(again)})
        return
    for name, text in _summary(dead).items():
        say(f"{name}: {plain(str(text))}")
    if again is not None:
        say(f"replayed as: {_place(again)}")
    if dead.cut:
        say(f"not kept: {plain(dead.cut)}")
    say("\n# Headers")
    for name, header in dead.headers:
        say(f"{plain(name)}: {plain(_text(header))}")
    say(f"\n# Value, {len(value or b'')} bytes")
    text = _text((value or b"")[:_MOST_SHOWN])
    say("\n".join(plain(line) for line in text.split("\n")))
    if len(value or b"") > _MOST_SHOWN:
        say(f"... cut here; `sealwax dead show {record_id} --raw` writes all of it")


@app.command(name="replay")
def replay_(
    *record_ids: Id,
    all_: Annotated[
        bool, Parameter(name="--all", negative=(), help="All that can be, and were not yet.")
    ] = False,
    again: Annotated[
        bool, Parameter(negative=(), help="Also those that were replayed before.")
    ] = False,
    reason: Annotated[str | None, Parameter(help="With --all: only those.")] = None,
) -> None:
    """Give records back to the topic that they came from, to be processed again."""
    if bool(record_ids) == all_:
        raise ConfigurationError("say which: ids as `sealwax dead list` prints them, or --all")
    # Two replays at once could both find that a record was not replayed yet.
    with _opened() as (settings, log), alone(settings, log, "replay", [0]) as still:
        if all_:
            _replay_all(log, reason, still, again=again)
            return
        dead = [_found(log, record_id) for record_id in record_ids]
        for each in dead:
            try:
                refuse(log, each)
                before = _before(log, each)
                if before is not None and not again:
                    raise ReplayRefusedError(  # noqa: TRY301 - one sentence for every refusal
                        f"it was replayed already, as {_place(before)}; --again does it once more"
                    )
                _stay_alone(still)
                say(f"{_id(each.at)} is {_place(replay(log, each))} now.")
            except ReplayRefusedError as error:
                raise ConfigurationError(f"{_id(each.at)} is not replayed: {error}") from error


def _replay_all(log: Log, reason: str | None, still: Alone, *, again: bool) -> None:
    done: dict[TopicPartition, dict[Position, Position]] = {}
    counts: Counter[str] = Counter()
    for dead in sorted(_all(log, reason, []), key=_by_time):
        try:
            refuse(log, dead)
            source = _source(dead)
            if source not in done:
                done[source] = replayed(log, source)
            if dead.at in done[source] and not again:
                counts["before"] += 1
                continue
            _stay_alone(still)
            replay(log, dead)
            counts["now"] += 1
        except ReplayRefusedError as error:
            complain(f"{_id(dead.at)} is not replayed: {error}")
            counts["refused"] += 1
    say(
        f"{counts['now']} replayed, {counts['before']} were replayed before, "
        f"{counts['refused']} cannot be."
    )


def _stay_alone(still: Alone) -> None:
    """Raises ConfigurationError where another replay may run by now."""
    if not still():
        raise ConfigurationError(NOT_ALONE)


@contextmanager
def _opened() -> Iterator[tuple[Settings, Log]]:
    """The log, whether `up` runs or not."""
    settings = load()
    for warning in warnings_of(settings):
        complain(warning)
    if not settings.has_log:
        raise ConfigurationError(f"there is no log in {settings.data_dir}: `sealwax up` makes one")
    log = open_log(settings.log)
    try:
        yield settings, log
    finally:
        log.close()


def _all(log: Log, reason: str | None, foreign: list[Position]) -> Iterator[Dead]:
    """The dead records with that reason; what no flow wrote is added to `foreign`."""
    for tp in partitions_of_dead(log):
        for dead in dead_records(log, tp):
            if not isinstance(dead, Dead):
                foreign.append(dead)
            elif reason in (None, dead.reason):
                yield dead


def _by_time(dead: Dead) -> tuple[int, Position]:
    return dead.stamp_ms, dead.at


def _before(log: Log, dead: Dead) -> Position | None:
    """Where a record was given back before."""
    try:
        refuse(log, dead)
    except ReplayRefusedError:
        return None
    return replayed(log, _source(dead)).get(dead.at)


def _found(log: Log, record_id: str) -> Dead:
    partition, _, offset = record_id.partition("/")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise ConfigurationError(
            f"{plain(record_id)} is no id: it is partition/offset, such as 0/17, as "
            "`sealwax dead list` prints it"
        )
    try:
        dead = dead_record(log, int(partition), int(offset))
    except UnreadableRecordError as error:
        raise SealwaxError(
            f"no flow put {record_id} there, so there is nothing to say of it"
        ) from (error)
    if dead is None:
        raise ConfigurationError(
            f"there is no dead record {record_id}; `sealwax dead list` shows those there are"
        )
    return dead


def _source(dead: Dead) -> TopicPartition:
    return TopicPartition(dead.source.topic, dead.source.partition)


def _summary(dead: Dead) -> dict[str, Any]:
    return {
        "id": _id(dead.at),
        "at": iso(dead.stamp_ms),
        "reason": dead.reason,
        "detail": dead.detail,
        "tenant": dead.tenant_id,
        "flow": dead.flow,
        "topic": dead.source.topic,
        "partition": dead.source.partition,
        "offset": dead.source.offset,
    }


def _content(dead: Dead, value: bytes | None) -> dict[str, Any]:
    """Headers and value for JSON; bytes that are no UTF-8 are in `value_base64`."""
    headers = [[name, _text(header)] for name, header in dead.headers]
    shown: dict[str, Any] = {"headers": headers, "not_kept": dead.cut, "value": None}
    if value is None:
        return shown
    try:
        return shown | {"value": value.decode()}
    except UnicodeDecodeError:
        return shown | {"value_base64": base64.b64encode(value).decode()}


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _id(at: Position) -> str:
    return f"{at.partition}/{at.offset}"


def _place(at: Position | None) -> str | None:
    return None if at is None else f"{at.topic}/{at.partition}/{at.offset}"
