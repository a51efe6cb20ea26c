"""The real flows with a hook: the process dies where it works on anything that says POISON.

`python -m bytewax.run tests.support.poisoned:render` runs one.
"""

import os
import resource
from collections.abc import Callable
from importlib import import_module
from typing import Any

from bytewax.dataflow import Dataflow

from flows import analytics as analytics_flow
from flows import dispatch as dispatch_flow
from flows import render as render_flow
from sealwax.model.topics import DEAD

POISON = b"kill-this-process"
# A core file of a process with ClickHouse in it takes seconds.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _hook(name: str, bytes_of: Callable[..., bytes]) -> None:
    """Makes the function that a module knows by this name look at its arguments first."""
    module_name, _, function = name.rpartition(".")
    module = import_module(module_name)
    really = getattr(module, function)

    def hooked(*args: Any, **options: Any) -> Any:
        if POISON in bytes_of(*args):
            os.abort()
        return really(*args, **options)

    setattr(module, function, hooked)


def render() -> Dataflow:
    _hook("flows.operators.intake.read_submission", lambda value: value)
    return render_flow.flow()


def dispatch() -> Dataflow:
    _hook("flows.operators.read.decode_deliveries", b"".join)
    return dispatch_flow.flow()


def analytics() -> Dataflow:
    """Dies in the insert, when the range is committed."""
    for module in ("io", "repair"):
        _hook(f"connectors.clickhouse.{module}.insert", _json)
    return analytics_flow.flow()


def analytics_reading() -> Dataflow:
    """Dies where a record becomes a row, before any range is committed."""
    # The value of a dead record is not looked at.
    _hook(
        "connectors.clickhouse.rows.row_of",
        lambda record: b"" if record.topic == DEAD else record.value,
    )
    return analytics_flow.flow()


def _json(_client: object, lines: list[Any], *_: object) -> bytes:
    return b"".join(line.json for line in lines)
