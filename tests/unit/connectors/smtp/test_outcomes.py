"""The one record that settles an attempt, or a wait without one."""

from typing import Any

import orjson
import pytest

from connectors.log.port import Entry, Record
from connectors.log.settle import parse_source_header
from connectors.records import decode_deliveries, iso, row_of
from connectors.smtp import outcomes
from connectors.smtp.items import Attempted, Postpone, Queued, Verdict
from sealwax.model.delivery import Delivery
from sealwax.model.event import Cause, Kind, Wait
from sealwax.model.reply import Command, Reply
from sealwax.model.topics import EVENTS
from tests.support.deliveries import (
    LATER,
    OK,
    READY,
    REFUSED,
    START_MS,
    ended,
    meaning,
    queued,
    result,
    send,
)

RETRIED = "email.retry.transactional.5m"


def row_in(topic: str, entry: Entry) -> dict[str, Any]:
    row = row_of(Record(topic, 0, 0, entry.key, entry.value, entry.headers, 0))
    parsed: dict[str, Any] = orjson.loads(row) if row else {}
    return parsed


def delivery_in(entry: Entry) -> Delivery:
    (decoded,) = decode_deliveries([entry.value or b""])
    assert isinstance(decoded, Delivery)
    return decoded


def verdict(kind: Kind, reply: Reply, item: Queued, not_before_ms: int = 0) -> Verdict:
    attempted = ended(send(item, attempt=2), reply, START_MS + 20)
    return Verdict(kind, attempted, meaning(attempted), not_before_ms)


def postponed(item: Queued, wait_ms: int = 400_000) -> tuple[str, Entry]:
    waits = (*item.delivery.waits, Wait(Cause.RATE, "site:site.rate", 10_050))
    at_ms = START_MS + 10_000
    ((topic, entry),) = outcomes.waiting([Postpone(item, waits, at_ms, at_ms + wait_ms)])
    return topic, entry


def test_a_delivered_message_is_a_row_that_says_everything_of_the_attempt():
    sent = send(queued(3, tags=(("campaign", "x"),), template="hi@2"), attempt=2)
    topic, entry = outcomes.delivered(sent, result(OK, START_MS + 20, in_doubt=True, tls="TLSv1.3"))
    row = row_in(topic, entry)
    assert topic == EVENTS
    assert parse_source_header(dict(entry.headers)["src"]) == (sent.queued.source, None)
    assert entry.partition == sent.queued.source.partition
    assert entry.key == b"site.test"
    expected = {
        "kind": "delivered",
        "at": iso(START_MS + 20),
        "attempt": 2,
        "site": "site",
        "mx_host": "mx.site.test",
        "source_ip": "127.0.0.1",
        "code": 250,
        "status": "2.0.0",
        "reply": "ok",
        "command": "DOT",
        "in_doubt": True,
        "tls": "TLSv1.3",
        "limits": {"connections": "20"},
        "tags": {"campaign": "x"},
        "template": "hi@2",
        "smtp_ms": 5,
        "connect_ms": 2,
        "dot_ms": 1,
        "elapsed_ms": 120,
        "size": len(b"message"),
        "request_offset": 7,
    }
    assert {name: row.get(name) for name in expected} == expected


def test_the_waits_and_the_dialogue_of_an_attempt_add_up_to_the_time_since_the_row_before():
    item = queued()
    topic, entry = outcomes.delivered(send(item), result(OK, START_MS + 20))
    row = row_in(topic, entry)
    assert row["waits.cause"] == ["rate", "queue"]
    assert row["waits.ms"] == [50, 15]
    since_ms = item.delivery.since_ms
    assert sum(row["waits.ms"]) + row["smtp_ms"] == START_MS + 20 - since_ms


@pytest.mark.parametrize(
    ("kind", "reply", "klass", "alert"),
    [(Kind.BOUNCED, REFUSED, "bad_address", None), (Kind.EXPIRED, LATER, "expired", True)],
)
def test_a_message_that_is_over_is_a_row_and_an_expired_one_alerts(kind, reply, klass, alert):
    topic, entry = outcomes.ended(verdict(kind, reply, queued()))
    row = row_in(topic, entry)
    assert topic == EVENTS
    assert (row["kind"], row["code"], row["reply"]) == (kind, reply.code, reply.text)
    assert (row.get("class"), row.get("alert")) == (klass, alert)


def test_an_outcome_says_by_which_rule_it_was_decided_and_what_the_rule_says_of_others():
    topic, entry = outcomes.ended(verdict(Kind.BOUNCED, REFUSED, queued()))
    row = row_in(topic, entry)
    assert (row["rule"], row["rule_version"], row["class"]) == (
        "general.bad_address", 1, "bad_address"
    )  # fmt: skip
    assert (row["recipient_fate"], row.get("path_fate"), row["provider"]) == ("suppress", None, "")
    no_ptr = Reply(Command.BANNER, 554, "", "Bad DNS PTR resource record.")
    item = queued()
    attempted = Attempted(send(item), result(no_ptr, START_MS + 20, mx_host="mx00.emig.gmx.net"), 1)
    waiting = Verdict(Kind.DEFERRED, attempted, meaning(attempted), START_MS + 60_000)
    ((topic, entry),) = outcomes.waiting([waiting])
    row = row_in(topic, entry)
    assert (row["rule"], row["provider"], row["class"]) == ("gmx.ptr", "gmx", "authentication")
    assert row["path_fate"] == "take_out ip at provider until resumed"
    assert "recipient_fate" not in row
    assert row["alert"] is True
    assert row["detail"].startswith(f"next attempt at {iso(START_MS + 60_000)}; Give the source")


def test_a_delivered_message_has_a_provider_and_no_rule():
    there = result(OK, START_MS + 20, mx_host="alt1.gmail-smtp-in.l.google.com")
    row = row_in(*outcomes.delivered(send(queued()), there))
    assert row["provider"] == "google"
    assert not {"rule", "rule_version", "class", "path_fate"} & row.keys()


def test_a_deferred_message_goes_to_a_delay_topic_with_the_row_of_its_attempt():
    item = queued(waits=(Wait(Cause.DNS, "", 9),))
    not_before_ms = START_MS + 20 + 310_000
    ((topic, entry),) = outcomes.waiting([verdict(Kind.DEFERRED, LATER, item, not_before_ms)])
    assert topic == RETRIED
    row = row_in(topic, entry)
    assert (row["kind"], row["code"], row["attempt"]) == ("deferred", 451, 2)
    assert row["detail"] == f"next attempt at {iso(not_before_ms)}"
    assert row["waits.cause"] == ["dns", "rate", "queue"]
    delivery = delivery_in(entry)
    assert delivery.attempt == 2
    assert delivery.waits == ()
    assert delivery.since_ms == START_MS + 20
    assert delivery.not_before_ms == not_before_ms
    assert delivery.due_ms == START_MS + 20 + 300_000
    assert delivery.message == b"message"


def test_a_first_parking_is_a_row_with_its_waits_and_its_plan():
    topic, entry = postponed(queued())
    row = row_in(topic, entry)
    assert (topic, row["kind"]) == (RETRIED, "waited")
    assert (row["site"], row["attempt"]) == ("site", 0)
    assert row["at"] == iso(START_MS + 10_000)
    assert row["waits.ms"] == [10_050]
    assert row["detail"] == f"planned until {iso(START_MS + 410_000)}"
    assert delivery_in(entry).waits == ()
    assert delivery_in(entry).since_ms == START_MS + 10_000


def test_one_that_goes_round_again_has_no_row_and_carries_its_waits_on():
    before = Wait(Cause.RETRY, "retry.delays", 300_000)
    topic, entry = postponed(queued(topic=RETRIED, attempt=1, waits=(before,)))
    assert row_in(topic, entry) == {}
    delivery = delivery_in(entry)
    assert delivery.attempt == 1
    assert delivery.waits == (before, Wait(Cause.RATE, "site:site.rate", 10_050))


@pytest.mark.parametrize(
    ("wait_ms", "topic"), [(1, "10s"), (59_999, "10s"), (60_000, "1m"), (10**8, "1h")]
)
def test_the_delay_topic_is_the_longest_that_the_wait_covers(wait_ms, topic):
    assert postponed(queued(), wait_ms)[0] == f"email.retry.transactional.{topic}"


def test_streams_have_delay_topics_of_their_own():
    topic, _ = postponed(queued(stream="marketing"))
    assert topic == "email.retry.marketing.5m"


def test_several_records_keep_their_order():
    decisions: list[Verdict | Postpone] = [
        verdict(Kind.DEFERRED, LATER, queued(1), START_MS + 60_020),
        Postpone(queued(2), (), START_MS, START_MS + 60_000),
        verdict(Kind.DEFERRED, LATER, queued(3), START_MS + 3_600_020),
    ]
    records = outcomes.waiting(decisions)
    assert [topic.rsplit(".", 1)[1] for topic, _ in records] == ["1m", "1m", "1h"]
    sources = [parse_source_header(dict(entry.headers)["src"]) for _, entry in records]
    assert [source[0].offset for source in sources if source] == [1, 2, 3]
    assert {source[0].topic for source in sources if source} == {READY}
