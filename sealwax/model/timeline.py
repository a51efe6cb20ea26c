"""The way of one email as steps, from the rows that stand for it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sealwax.model.email_id import accepted_at_ms
from sealwax.model.event import Kind

Row = Mapping[str, Any]
Step = dict[str, Any]

_ATTEMPTS = frozenset({Kind.DEFERRED, Kind.DELIVERED, Kind.BOUNCED, Kind.EXPIRED})
_DISPATCH = _ATTEMPTS | {Kind.WAITED, Kind.FAILED}
# Columns of an attempt that its steps show where they are set.
_FACTS = (
    "attempt", "site", "mx_host", "source_ip", "tls", "command", "code", "status", "reply", "class",
    "alert", "in_doubt", "rule", "rule_version", "recipient_fate", "path_fate", "dkim_domain",
    "smtp_ms", "connect_ms", "dot_ms", "detail",
)  # fmt: skip


def timeline(rows: Sequence[Row]) -> list[Step]:
    """All steps of an email, oldest first.

    One row stands for an attempt with the waits before it; here it becomes a step per wait, one
    for the attempt and one for its verdict. Every step has `at`, `kind`, `recipient` and `source`
    (`accept`, `render` or `dispatch`: who says so). The time of accept stands in the email's id,
    so it is there whichever row is stored first. No rows: no steps.
    """
    if not rows:
        return []
    steps = [step for row in rows for step in _expand(row)]
    # Stable: steps of the same millisecond stay in the order of their rows.
    steps.sort(key=lambda step: step[0])
    return [accepted(accepted_at_ms(rows[0]["email_id"])), *(step for _, step in steps)]


def accepted(at_ms: int) -> Step:
    """The first step of an email, where no row of it is stored yet."""
    at = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return {"at": _text(at), "kind": Kind.ACCEPTED.value, "recipient": None, "source": "accept"}


def unaccounted_ms(rows: Sequence[Row], rcpt_index: int) -> int:
    """Milliseconds from accept to a recipient's last row that no wait and no attempt covers."""
    own = [row for row in rows if row["rcpt_index"] == rcpt_index]
    covered = sum(sum(row["waits.ms"]) + row["smtp_ms"] for row in own)
    return int(max(row["elapsed_ms"] for row in own) - covered)


def _expand(row: Row) -> list[tuple[datetime, Step]]:
    at = datetime.fromisoformat(row["at"])
    kind, recipient = row["kind"], row["rcpt"] or None
    source = "dispatch" if kind in _DISPATCH else "render"
    steps: list[tuple[datetime, Step]] = []
    begun = at - timedelta(milliseconds=row["smtp_ms"] if kind in _ATTEMPTS else 0)
    waited_ms = sum(row["waits.ms"])
    since = begun - timedelta(milliseconds=waited_ms)
    for cause, rule, ms in zip(row["waits.cause"], row["waits.rule"], row["waits.ms"], strict=True):
        step = _step(since, Kind.WAITED, recipient, source)
        step |= {"cause": cause, "ms": ms, **({"rule": rule} if rule else {})}
        steps.append((since, step))
        since += timedelta(milliseconds=ms)
    facts = {name: row[name] for name in _FACTS if row.get(name)}
    if kind in _ATTEMPTS:
        steps.append((begun, _step(begun, Kind.ATTEMPTED, recipient, source) | _begun(facts)))
    if kind == Kind.WAITED and steps:
        # The row of a wait is the wait; what else it says (until when it is planned) goes along.
        since, step = steps[-1]
        steps[-1] = (since, {**step, **facts, **step})
    else:
        steps.append((at, _step(at, Kind(kind), recipient, source) | facts))
    return steps


def _begun(facts: Mapping[str, Any]) -> Step:
    known = ("attempt", "site", "mx_host", "source_ip", "tls")
    return {name: facts[name] for name in known if name in facts}


def _step(at: datetime, kind: Kind, recipient: str | None, source: str) -> Step:
    return {"at": _text(at), "kind": kind.value, "recipient": recipient, "source": source}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
