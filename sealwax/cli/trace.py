"""`sealwax trace`: the whole way of an email, step by step."""

import time
from datetime import datetime, timedelta
from typing import Annotated, Any

from cyclopts import Parameter

from sealwax.cli.client import Client
from sealwax.cli.options import Json
from sealwax.cli.output import say_json, say_table
from sealwax.model.event import TERMINAL, Kind

_LOOK_AGAIN_S = 0.5
_SECOND = timedelta(seconds=1)
_HEADINGS = ("time (UTC)", "after", "step", "recipient", "what happened")


def trace(
    email_id: Annotated[str, Parameter(help="As `send` printed it.")],
    /,
    *,
    follow: Annotated[
        bool, Parameter(negative=(), help="Wait until every recipient has a final verdict.")
    ] = False,
    json: Json = False,
) -> None:
    """Show everything that happened to an email, with the time of each step."""
    with Client() as client:
        answer = client.get(f"/v1/emails/{email_id}/timeline")
        while follow and not _is_final(answer["data"]):
            time.sleep(_LOOK_AGAIN_S)
            answer = client.get(f"/v1/emails/{email_id}/timeline")
    if json:
        say_json(answer)
    else:
        say_table(_HEADINGS, _rows(answer["data"]))


def _rows(steps: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One line a step; `after` counts from the step before it."""
    rows: list[tuple[str, ...]] = []
    before: datetime | None = None
    for step in steps:
        at = datetime.fromisoformat(step["at"])
        after = "" if before is None else _delta(at - before)
        rows.append(
            (
                f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}",
                after,
                str(step["kind"]),
                str(step.get("recipient") or ""),
                _what(step),
            )
        )
        before = at
    return rows


def _what(step: dict[str, Any]) -> str:
    """What else the step says, the most telling part first."""
    parts = []
    if step.get("cause"):
        rule = f" ({step['rule']})" if step.get("rule") else ""
        parts.append(f"{step['cause']}{rule}")
    if step.get("ms"):
        parts.append(_duration(timedelta(milliseconds=step["ms"])))
    if step.get("attempt"):
        parts.append(f"attempt {step['attempt']}")
    if step.get("mx_host"):
        parts.append(f"at {step['mx_host']}")
    parts.append(_reply(step))
    if step.get("class"):
        rule = f" ({step['rule']})" if step.get("rule") and not step.get("cause") else ""
        parts.append(f"{step['class']}{rule}")
    parts.append(str(step.get("detail") or ""))
    return ", ".join(part for part in parts if part)


def _reply(step: dict[str, Any]) -> str:
    """`DOT: 250 2.0.0 ok`, from an object or from fields of the step."""
    reply = step.get("reply")
    fields = reply if isinstance(reply, dict) else {**step, "text": reply}
    said = " ".join(str(fields[k]) for k in ("code", "status", "text") if fields.get(k))
    return f"{fields['command']}: {said}" if said and fields.get("command") else said


def _delta(gap: timedelta) -> str:
    return f"-{_duration(-gap)}" if gap < timedelta() else f"+{_duration(gap)}"


def _duration(span: timedelta) -> str:
    if span < _SECOND:
        return f"{span // timedelta(milliseconds=1)} ms"
    if span < 60 * _SECOND:
        return f"{span / _SECOND:.1f} s"
    minutes, seconds = divmod(span // _SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {seconds} s"


def _is_final(steps: list[dict[str, Any]]) -> bool:
    named = {step["recipient"] for step in steps if step.get("recipient")}
    ended = {step["recipient"] for step in steps if step["kind"] in TERMINAL}
    # A request that could not be processed ends without a recipient.
    rejected = any(step["kind"] == Kind.REJECTED for step in steps)
    return rejected or (bool(named) and named <= ended)
