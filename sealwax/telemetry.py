"""Logging: structlog, one line per event on standard error, with the process's name in it."""

import logging
import sys

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(process: str, *, level: str, form: str) -> None:
    """Sets logging up for this process, structlog's and the standard library's.

    Args:
        process: Its name, such as `dispatch`.
        level: Lowest level that is logged: debug, info, warning or error.
        form: `text` for a person, `json` for a program.
    """

    def name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_ending(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Libraries say at `info` what they do, which is for their developers.
    for library in ("alembic", "httpx", "httpcore", "asyncio", "aiosmtplib", "clickhouse_connect"):
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


def _ending(form: str) -> list[Processor]:
    if form == "json":
        return [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    return [_short_time, _console(colors=sys.stderr.isatty())]


def _short_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """2026-11-24T08:00:00.123456Z -> 2026-11-24 08:00:00.123, UTC like everything else."""
    event["timestamp"] = str(event["timestamp"])[:23].replace("T", " ")
    return event


def _console(*, colors: bool) -> ConsoleRenderer:
    dim, cyan, bold, reset = ("\033[2m", "\033[36m", "\033[1m", "\033[0m") if colors else ("",) * 4

    def column(key: str | None, style: str, width: int = 0) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(
            key_style=None if key is None else style,
            value_style=style,
            reset_style=reset,
            value_repr=str,
            width=width,
        )

    # Plain tracebacks: the others print local variables, and those may be keys and addresses.
    return ConsoleRenderer(
        exception_formatter=structlog.dev.plain_traceback,
        sort_keys=False,
        columns=[
            Column("", KeyValueColumnFormatter(cyan, "", reset, value_repr=str)),
            Column("timestamp", column(None, dim)),
            Column("process", column(None, cyan, 9)),
            Column("level", column(None, dim, 7)),
            Column("event", column(None, bold)),
        ],
    )
