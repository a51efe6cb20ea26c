"""Messages on their way and attempts at them, for tests that need some."""

from dataclasses import replace
from typing import Any

from connectors.smtp.items import Attempted, Queued, Send
from sealwax.model.delivery import Delivery, Position
from sealwax.model.email_id import email_id
from sealwax.model.event import Cause, Wait
from sealwax.model.reply import Command, Reply
from sealwax.model.topics import STREAMS, ready
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.fates import Classified
from sealwax.smtp.engine import Result

START_MS = 1_795_000_000_000
READY = ready(STREAMS[0])
OK = Reply(Command.DOT, 250, "2.0.0", "ok")
LATER = Reply(Command.RCPT, 451, "4.7.1", "later")
REFUSED = Reply(Command.RCPT, 550, "5.1.1", "no such user")


def delivery(**changes: Any) -> Delivery:
    """Accepted 100 ms before START_MS, rendered 50 ms before it."""
    made = Delivery(
        email_id=email_id(START_MS - 100, bytes(10)),
        rcpt_index=0,
        tenant_id="t",
        stream="transactional",
        reverse_path="b@acme.test",
        rcpt="a@site.test",
        rcpt_domain="site.test",
        accepted_at_ms=START_MS - 100,
        give_up_at_ms=START_MS + 86_400_000,
        attempt=0,
        due_ms=0,
        not_before_ms=0,
        source_ip="",
        dkim_domain="acme.test",
        template="",
        tags=(),
        request=Position("email.requested.transactional", 0, 7),
        since_ms=START_MS - 50,
        waits=(),
        message=b"message",
    )
    return replace(made, **changes)


def queued(offset: int = 0, topic: str = READY, **changes: Any) -> Queued:
    return Queued("site", delivery(**changes), Position(topic, 0, offset))


def result(reply: Reply, at_ms: int, **changes: Any) -> Result:
    """Of an attempt that took 5 ms and ended then."""
    made = Result(
        reply=reply,
        accepted=reply.positive,
        in_doubt=False,
        mx_host="mx.site.test",
        mx_ip="127.0.0.1",
        source_ip="127.0.0.1",
        tls="",
        connect_ms=2,
        smtp_ms=5,
        dot_ms=1,
        reused=False,
        started_at_ms=at_ms - 5,
        ended_at_ms=at_ms,
    )
    return replace(made, **changes)


def send(item: Queued, *, attempt: int = 1) -> Send:
    """Granted at START_MS, after 50 ms of waiting for the rate."""
    waits = (*item.delivery.waits, Wait(Cause.RATE, "site:site.rate", 50))
    return Send(item, attempt, waits, START_MS, (("connections", "20"),))


def ended(sent: object, reply: Reply, at_ms: int) -> Attempted:
    assert isinstance(sent, Send)
    return Attempted(sent, result(reply, at_ms), 1)


def meaning(fact: Attempted) -> Classified:
    """What the rules say of its reply."""
    return builtin().classify(fact.result.reply, fact.result.mx_host)
