"""The one record by which an attempt, or a wait without one, is settled."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from connectors.log.port import Entry
from connectors.log.settle import source_header
from connectors.records import (
    Row,
    encode_deliveries,
    event_row,
    iso,
    message_header,
    wait_columns,
)
from connectors.smtp.items import Postpone, Queued, Send, Verdict
from sealwax.model.delivery import Delivery
from sealwax.model.event import Cause, Kind, Wait
from sealwax.model.topics import DELAY_OF, EVENTS, READY, Stream, retry
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.fates import KEEP, Classified
from sealwax.policy.delay import delay_for
from sealwax.smtp.engine import Result

# To the sender a message that was given up is a hard bounce with an alert.
_CLASS_EXPIRED = "expired"


class _Delayed(NamedTuple):
    """What goes to a delay topic: the message read, as it waits on, and the row of what was new."""

    queued: Queued
    delivery: Delivery
    row: bytes


def delivered(send: Send, result: Result) -> tuple[str, Entry]:
    """Topic and record of a message that the peer took."""
    more = {"provider": builtin().providers.of(result.mx_host)}
    return EVENTS, _entry(send.queued, _row(Kind.DELIVERED, send, result, more))


def ended(verdict: Verdict) -> tuple[str, Entry]:
    """Topic and record of a message that is not tried again."""
    send, result = verdict.attempted.send, verdict.attempted.result
    more = _meaning(verdict.classified)
    if verdict.kind is Kind.EXPIRED:
        more |= {"class": _CLASS_EXPIRED, "alert": True}
    return EVENTS, _entry(send.queued, _row(verdict.kind, send, result, more))


def _meaning(classified: Classified) -> dict[str, Any]:
    """What a reply means, as columns."""
    columns: dict[str, Any] = {
        "provider": classified.provider,
        "rule": classified.rule,
        "rule_version": classified.rule_version,
        "class": classified.reply_class,
    }
    if classified.recipient != KEEP:
        columns["recipient_fate"] = str(classified.recipient)
    if classified.path:
        columns["path_fate"] = ", ".join(str(fate) for fate in classified.path)
    if classified.fix:
        columns |= {"detail": classified.fix, "alert": True}
    return columns


def waiting(decisions: Sequence[Verdict | Postpone]) -> list[tuple[str, Entry]]:
    """Topics and records of messages that go to a delay topic, in order."""
    topics, queued, payloads = [], [], []
    for decision in decisions:
        delayed = _deferred(decision) if isinstance(decision, Verdict) else _postponed(decision)
        delivery = delayed.delivery
        wait_ms = delivery.not_before_ms - delivery.since_ms
        topic = retry(Stream(delivery.stream), delay_for(wait_ms))
        due_ms = delivery.since_ms + DELAY_OF[topic]
        topics.append(topic)
        queued.append(delayed.queued)
        payloads.append((replace(delivery, due_ms=due_ms), delayed.row))
    values = encode_deliveries(payloads)
    return [
        (topic, _entry(item, value, message_header(item.delivery)))
        for topic, item, value in zip(topics, queued, values, strict=True)
    ]


def _deferred(verdict: Verdict) -> _Delayed:
    send, result = verdict.attempted.send, verdict.attempted.result
    plan = _meaning(verdict.classified)
    advice = f"; {verdict.classified.fix}" if verdict.classified.fix else ""
    plan["detail"] = f"next attempt at {iso(verdict.not_before_ms)}{advice}"
    delivery = replace(
        send.queued.delivery,
        attempt=send.attempt,
        since_ms=result.ended_at_ms,
        waits=(),
        not_before_ms=verdict.not_before_ms,
    )
    return _Delayed(send.queued, delivery, _row(Kind.DEFERRED, send, result, plan))


def _postponed(decision: Postpone) -> _Delayed:
    """A first parking is a row; one that goes round again carries its waits on to the next row."""
    queued, row, waits = decision.queued, b"", decision.waits
    if queued.source.topic in READY:
        facts = {
            "site": queued.site,
            "detail": f"planned until {iso(decision.not_before_ms)}",
            **wait_columns(waits),
        }
        row, waits = event_row(Kind.WAITED, queued.delivery, at_ms=decision.at_ms, facts=facts), ()
    delivery = replace(
        queued.delivery,
        since_ms=decision.at_ms,
        waits=waits,
        not_before_ms=decision.not_before_ms,
    )
    return _Delayed(queued, delivery, row)


def _row(kind: Kind, send: Send, result: Result, more: Row) -> bytes:
    begun = Wait(Cause.QUEUE, "", result.started_at_ms - send.granted_ms)
    reply = result.reply
    facts = {
        "site": send.queued.site,
        "source_ip": result.source_ip,
        "mx_host": result.mx_host,
        "attempt": send.attempt,
        "command": reply.command,
        "code": reply.code,
        "status": reply.status,
        "reply": reply.text,
        "in_doubt": result.in_doubt or send.queued.in_doubt,
        "tls": result.tls,
        "limits": dict(send.limits),
        "smtp_ms": result.smtp_ms,
        "connect_ms": result.connect_ms,
        "dot_ms": result.dot_ms,
        **wait_columns((*send.waits, begun)),
        **more,
    }
    return event_row(kind, send.queued.delivery, at_ms=result.ended_at_ms, facts=facts)


def _entry(queued: Queued, value: bytes, *more: tuple[str, bytes]) -> Entry:
    source = queued.source
    key = queued.delivery.rcpt_domain.encode()
    return Entry(source.partition, key, value, (("src", source_header(source)), *more))
