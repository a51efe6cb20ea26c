"""What the API says about an email after it was accepted."""

import json
import time
from typing import Any

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, TopicPartition
from sealwax.model.email_id import email_id
from sealwax.model.topics import Stream, requested
from tests.unit.api.conftest import EMAIL, Api, Events, by_id


def row(
    api: Api, ident: str, kind: str, rcpt: str = "", index: int = 0, **facts: Any
) -> dict[str, Any]:
    """A row as ClickHouse gives it, about an email that stands in the log."""
    record = by_id(api.records())[ident]
    return {
        "tenant": "default", "email_id": ident, "at": "2026-11-24T08:00:00.123Z", "kind": kind,
        "rcpt": rcpt, "rcpt_index": index, "rcpts": 0, "stream": "transactional", "code": 0,
        "status": "", "reply": "", "detail": "", "smtp_ms": 0, "elapsed_ms": 5,
        "waits.cause": [], "waits.rule": [], "waits.ms": [], "request_topic": record.topic,
        "request_partition": record.partition, "request_offset": record.offset,
    } | facts  # fmt: skip


def test_an_unknown_email_is_404_after_two_seconds(api: Api, events: Events):
    ident = email_id(1_760_000_000_000, b"0123456789")
    for path in (f"/v1/emails/{ident}", f"/v1/emails/{ident}/timeline"):
        started = time.monotonic()
        response = api.http.get(path)
        assert response.status_code == 404
        assert response.headers["retry-after"] == "2"
        assert 1.9 < time.monotonic() - started < 4


def test_what_is_no_id_is_404_at_once(api: Api, events: Events):
    started = time.monotonic()
    for ident in ("x", "%00", "019ab0c1-7a10-4c3e-8f5e-1b2c3d4e5f60", "..%2f"):
        assert api.http.get(f"/v1/emails/{ident}").status_code == 404
    assert time.monotonic() - started < 1


def test_another_tenants_email_is_404(api: Api, events: Events):
    ident = api.send().json()["id"]
    events.rows = [row(api, ident, "rendered", "ada@example.test", rcpts=1)]
    api.store.create_tenant("other", "Other")
    with api.client(api.store.create_key("other", "tests").key) as other:
        assert other.get(f"/v1/emails/{ident}").status_code == 404
        assert other.get(f"/v1/emails/{ident}/timeline").status_code == 404
        assert other.get("/v1/domains/acme.test").status_code == 404
        assert other.get("/v1/domains").json() == {"data": []}
    assert api.http.get(f"/v1/emails/{ident}").status_code == 200


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (None, None, "sending"),
        ("delivered", None, "sending"),
        ("delivered", "deferred", "sending"),
        ("delivered", "delivered", "delivered"),
        ("delivered", "bounced", "partially_delivered"),
        ("delivered", "expired", "partially_delivered"),
        ("bounced", "bounced", "bounced"),
        ("bounced", "expired", "bounced"),
        ("expired", "expired", "expired"),
    ],
)
def test_the_status_sums_up_the_recipients_verdicts(
    api: Api, events: Events, first: str | None, second: str | None, status: str
):
    addresses = ["ada@example.test", "bob@example.test"]
    ident = api.send(to=addresses).json()["id"]
    events.rows = [
        row(api, ident, "rendered", address, n, rcpts=2) for n, address in enumerate(addresses)
    ]
    events.rows += [
        row(api, ident, kind, addresses[n], n, code=250, status="2.0.0", reply="OK")
        for n, kind in enumerate((first, second))
        if kind
    ]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert email["status"] == status
    verdicts = [r["verdict"] for r in email["recipients"]]
    assert verdicts == [first or "queued", second or "queued"]
    assert email["recipients"][0]["reply"] == ("250 2.0.0 OK" if first else None)


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        ("deferred delivered deferred", "delivered"),
        ("delivered bounced", "delivered"),
        ("delivered expired", "delivered"),
        ("expired delivered", "delivered"),
        ("bounced expired", "bounced"),
        ("bounced deferred", "bounced"),
        ("deferred failed", "failed"),
        ("failed delivered", "delivered"),
    ],
)
def test_a_verdict_that_is_final_stands_whatever_a_doubled_attempt_says(
    api: Api, events: Events, kinds: str, verdict: str
):
    ident = api.send().json()["id"]
    events.rows = [
        row(api, ident, kind, "ada@example.test", rcpts=1) for kind in ("rendered", *kinds.split())
    ]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert [r["verdict"] for r in email["recipients"]] == [verdict]
    assert email["status"] == verdict


def test_a_rejected_request_is_rejected(api: Api, events: Events):
    ident = api.send().json()["id"]
    events.rows = [row(api, ident, "rejected", detail="domain is gone")]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert email["status"] == "rejected"
    assert email["recipients"] == [{"address": "ada@example.test", "verdict": None, "reply": None}]


def test_an_email_whose_request_the_log_no_longer_holds_says_so(api: Api, events: Events):
    ident = email_id(1_760_000_000_000, b"0123456789")
    known = api.send().json()["id"]
    gone = row(api, known, "delivered", "ada@example.test", rcpts=1) | {
        "email_id": ident,
        "request_offset": 10_000_000,
    }
    events.rows = [gone]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert email["status"] == "delivered"
    assert email["html"] is None
    assert "no longer holds" in email["body_note"]
    assert email["recipients"][0]["address"] == "ada@example.test"


def test_an_emails_text_is_there_until_the_log_lets_go_of_its_request(api: Api, events: Events):
    ident = api.send().json()["id"]
    events.rows = [row(api, ident, "delivered", "ada@example.test", rcpts=1)]
    before = api.http.get(f"/v1/emails/{ident}").json()
    assert (before["html"], before["body_note"]) == (EMAIL["html"], None)
    record = by_id(api.records())[ident]
    log = open_log(LogSettings(api.data_dir / "log"))
    log.delete_before(TopicPartition(record.topic, record.partition), record.offset + 1)
    log.close()
    after = api.http.get(f"/v1/emails/{ident}").json()
    assert (after["subject"], after["html"], after["text"]) == (None, None, None)
    assert after["body_note"] == "The log no longer holds the request of this email."
    assert after["status"] == "delivered"


def test_a_row_that_points_to_another_tenants_request_shows_nothing_of_it(api: Api, events: Events):
    ident = api.send(html="<p>secret</p>").json()["id"]
    api.store.create_tenant("curious", "Curious")
    pointing = row(api, ident, "rendered", "eve@example.test", rcpts=1) | {"tenant": "curious"}
    for claimed in (ident, email_id(1_760_000_000_000, b"0123456789")):
        events.rows = [pointing | {"email_id": claimed}]
        with api.client(api.store.create_key("curious", "tests").key) as curious:
            response = curious.get(f"/v1/emails/{claimed}")
        assert response.status_code == 200
        assert "secret" not in response.text
        assert "no longer holds" in response.json()["body_note"]


def test_a_foreign_producers_request_is_shown_with_the_stream_of_its_topic(
    api: Api, events: Events
):
    topic = requested(Stream.MARKETING)
    headers = (("email-id", b"ignored"), ("tenant", b"ignored"))
    log = open_log(LogSettings(api.data_dir / "log"))
    entry = Entry(1, b"any", json.dumps(EMAIL).encode(), headers)
    (offset,) = log.append_wait(topic, [entry])
    (record,) = log.scan(TopicPartition(topic, 1), offset, offset + 1)
    log.close()
    ident = email_id(record.stamp_ms, b"0123456789")
    known = api.send().json()["id"]
    events.rows = [
        row(api, known, "rendered", "ada@example.test", rcpts=1, request_topic=topic)
        | {"email_id": ident, "request_partition": 1, "request_offset": offset}
    ]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert email["html"] == "<p>Hello</p>"
    assert email["stream"] == "marketing"


def test_the_timeline_has_the_steps_of_the_rows(api: Api, events: Events):
    ident = api.send().json()["id"]
    events.rows = [
        row(api, ident, "rendered", "ada@example.test", rcpts=1),
        row(api, ident, "delivered", "ada@example.test", at="2026-11-24T08:00:01.000Z", smtp_ms=9),
    ]
    steps = api.http.get(f"/v1/emails/{ident}/timeline").json()["data"]
    assert [step["kind"] for step in steps] == ["accepted", "rendered", "attempted", "delivered"]


def test_emails_are_known_for_a_while_after_a_restart_by_their_rows_alone(api: Api, events: Events):
    ident = api.send().json()["id"]
    assert api.stop() == 0
    api.start()
    events.rows = [row(api, ident, "rendered", "ada@example.test", rcpts=1)]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert email["status"] == "sending"
    assert email["html"] == "<p>Hello</p>"
