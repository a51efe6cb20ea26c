"""Rendering requests: real store, real log, real core; receivers' tools read what comes out."""

import email
import email.policy
import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.message import EmailMessage
from typing import Any
from zlib import crc32

import dkim
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.log import LogSettings, open_log
from connectors.log.append import Outcome
from connectors.log.dead import Dead, header, read_dead
from connectors.log.port import Headers, Log, Record
from connectors.log.settle import parse_source_header
from connectors.log.source import NOTHING_DONE, SourceItem
from connectors.records import decode_deliveries, iso
from flows.operators.render import RenderRequests
from flows.render import render_ports
from sealwax import clock, config
from sealwax.mail.grant import grant
from sealwax.model import topics
from sealwax.model.delivery import Delivery, Position
from sealwax.model.email_id import accepted_at_ms, email_id
from sealwax.store.relational import RelationalSettings, Store, open_store, sqlite_url

REQUESTED = topics.requested(topics.Stream.TRANSACTIONAL)
READY = topics.ready(topics.Stream.TRANSACTIONAL)
STAMP_MS = 1_795_000_000_000
STRICT = email.policy.default.clone(raise_on_defect=True)
VALUE = {
    "from": "Acme <hello@acme.test>",
    "to": "ada@b.test",
    "subject": "Hi",
    "html": "<p>Hello</p>",
}


@dataclass
class Installation:
    store: Store
    log: Log
    render: RenderRequests
    tenant: str
    api_key: str

    def granted(self, value: object, *, offset: int = 0, topic: str = REQUESTED) -> SourceItem:
        """A record as the API appends it."""
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        ident = email_id(STAMP_MS, offset.to_bytes(10, "big"))
        key = self.store.master_key.derive("grant")
        headers = (
            ("email-id", ident.encode()),
            ("tenant", self.tenant.encode()),
            ("accepted-at", str(STAMP_MS).encode()),
            ("grant", grant(key, ident, self.tenant, STAMP_MS, raw).encode()),
        )
        return item(raw, headers, offset=offset, topic=topic)

    def foreign(self, value: object, *, offset: int = 0) -> SourceItem:
        """A record as anybody's producer appends it."""
        raw = value if isinstance(value, bytes) else orjson.dumps(value)
        return item(raw, (("api-key", self.api_key.encode()),), offset=offset)

    def rendered(self, of: SourceItem) -> Outcome:
        (outcome,) = self.render([of])
        return outcome


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("installation")
    store = open_store(
        RelationalSettings(sqlite_url(directory / "sealwax.db"), directory / "master.key")
    )
    log = open_log(LogSettings(directory / "log"))
    log.create_topics(topics.ALL)
    tenant = store.default_tenant().id
    store.add_domain(tenant, "acme.test", trusted=True)
    store.put_template(tenant, "hello", "Hi {{name}}", "<b>{{name}}</b>", "dear {{name}}")
    store.put_template(tenant, "hello", "Other {{name}}", "<i>{{name}}</i>", None)
    render = RenderRequests(render_ports(config.load(), store, log))
    yield Installation(store, log, render, tenant, store.create_key(tenant, "test").key)
    log.close()
    store.close()


def item(
    raw: bytes | None, headers: Headers = (), *, offset: int = 0, topic: str = REQUESTED
) -> SourceItem:
    record = Record(topic, 2, offset, b"default", raw, headers, STAMP_MS)
    return SourceItem(record, NOTHING_DONE)


def deliveries(outcome: Outcome) -> list[Delivery]:
    values = [entry.value or b"" for topic, entry in outcome.entries if topic in topics.READY]
    found = decode_deliveries(values)
    assert all(isinstance(d, Delivery) for d in found)
    return [d for d in found if isinstance(d, Delivery)]


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    events = [entry for topic, entry in outcome.entries if topic == topics.EVENTS]
    return [orjson.loads(entry.value or b"") for entry in events]


def messages(outcome: Outcome) -> list[bytes]:
    return [delivery.message for delivery in deliveries(outcome)]


def written(outcome: Outcome) -> Sequence[tuple[str, int | None]]:
    """Topic and recipient of each entry."""
    sources = [
        (topic, parse_source_header(header(entry.headers, "src") or b""))
        for topic, entry in outcome.entries
    ]
    return [(topic, source[1]) for topic, source in sources if source]


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=STRICT)
    assert isinstance(message, EmailMessage)
    return message


def test_a_granted_request_becomes_a_message_and_a_row_under_its_own_id(here):
    of = here.granted(VALUE)
    before_ms = clock.now_ms()
    outcome = here.rendered(of)
    ident = dict(of.record.headers)["email-id"].decode()
    ((ready_topic, ready), (events_topic, event)) = outcome.entries
    assert (ready_topic, events_topic) == (READY, topics.EVENTS)
    assert outcome.source == Position(REQUESTED, 2, 0)
    assert (ready.key, ready.partition) == (
        b"b.test",
        crc32(b"b.test") % here.log.partitions(READY),
    )
    assert (event.key, event.partition) == (b"b.test", 2)
    (delivery,) = deliveries(outcome)
    assert delivery.email_id == ident
    assert (delivery.tenant_id, delivery.rcpt) == (here.tenant, "ada@b.test")
    assert delivery.reverse_path == "bounces@acme.test"
    assert delivery.accepted_at_ms == STAMP_MS
    assert delivery.give_up_at_ms == STAMP_MS + 86_400_000
    assert delivery.request == outcome.source
    (row,) = rows(outcome)
    assert (row["kind"], row["email_id"], row["rcpts"]) == ("rendered", ident, 1)
    assert row["at"] == iso(delivery.since_ms) >= iso(before_ms)
    assert row["waits.cause"] == ["queue"]
    assert row["waits.ms"] == [delivery.since_ms - STAMP_MS] == [row["elapsed_ms"]]
    assert row["size"] == len(delivery.message)


def test_mail_to_a_large_domain_is_spread_by_its_recipients_and_its_rows_are_not(here):
    large = RenderRequests(replace(here.render._ports, large_domains={"b.test": 4}))
    keys, partitions = {}, {}
    first = crc32(b"b.test")
    for user in range(40):
        to = f"user{user}@b.test"
        (outcome,) = large([here.granted({**VALUE, "to": to}, offset=user)])
        ((_, ready), (_, event)) = outcome.entries
        (delivery,) = deliveries(outcome)
        assert delivery.rcpt_domain == rows(outcome)[0]["rcpt_domain"] == "b.test"
        assert (event.key, event.partition) == (b"b.test", 2)
        assert b"b.test#" not in (ready.value or b"") + (event.value or b"")
        keys[to], partitions[ready.key] = ready.key, ready.partition
    assert partitions == {b"b.test#%d" % k: (first + k) % 4 for k in range(4)}
    # Known for good: a record that is made again by another version is in the same place.
    assert keys["user7@b.test"] == b"b.test#%d" % (crc32(b"user7@b.test") % 4)
    (outcome,) = large([here.granted({**VALUE, "to": "a@c.test"})])
    assert outcome.entries[0][1].key == b"c.test"


def test_any_producer_with_an_api_key_sends_and_its_email_has_the_same_id_each_time(here):
    first, again, other = (
        deliveries(here.rendered(here.foreign(VALUE, offset=offset)))[0] for offset in (5, 5, 6)
    )
    assert first.email_id == again.email_id != other.email_id
    assert accepted_at_ms(first.email_id) == first.accepted_at_ms == STAMP_MS
    assert first.tenant_id == here.tenant
    assert first.message == again.message


def test_two_renderings_of_one_record_are_the_same_bytes(here):
    value = VALUE | {"cc": ["bob@c.test"], "attachments": [{"filename": "a", "content": "YQ=="}]}
    first, second = (messages(here.rendered(here.granted(value))) for _ in range(2))
    assert len(first) == 2
    assert first == second


REJECTED: list[tuple[str, dict[str, Any] | bytes, Headers | None, str]] = [
    ("unauthenticated", VALUE, (), "grant"),
    ("unauthenticated", VALUE, (("api-key", b"sw_12345678_" + b"x" * 32),), "api-key"),
    ("unauthenticated", VALUE, (("api-key", b"\xff\x00"),), "api-key"),
    ("unauthenticated", VALUE, (("grant", b"0" * 64), ("accepted-at", b"1")), "grant"),
    ("unauthenticated", VALUE, (("grant", b"\xff"), ("accepted-at", b"9" * 5_000)), "grant"),
    ("unauthenticated", VALUE, (("grant", b""), ("accepted-at", "٣".encode())), "grant"),
    ("bad_request", b"{", None, "JSON"),
    ("bad_request", b"", None, "JSON"),
    ("bad_request", VALUE | {"stream": "marketing"}, None, "stream"),
    ("missing_variable", VALUE | {"html": "{{name}}", "data": {}}, None, "name"),
    ("unknown_template", {"from": "a@acme.test", "to": "b@b.test", "template": {"id": "no"}}, None,
     "no"),
    ("unknown_template", {"from": "a@acme.test", "to": "b@b.test",
     "template": {"id": "hello", "version": 2**31 - 1, "variables": {}}}, None, "hello"),
    ("domain_not_usable", VALUE | {"from": "a@other.test"}, None, "other.test"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "value", "headers", "named"), REJECTED)
def test_a_request_that_cannot_be_processed_is_kept_with_its_reason(
    here, reason, value, headers, named
):
    of = here.foreign(value, offset=3)
    if headers is not None:
        of = item(of.record.value, headers, offset=3)
    good = here.granted(VALUE, offset=4)
    outcome, harmed = here.render([of, good])
    ((dead_topic, dead), (events_topic, event)) = outcome.entries
    assert (dead_topic, events_topic) == (topics.DEAD, topics.EVENTS)
    assert dead.value == of.record.value
    assert (dead.key, event.key) == (of.record.key, None)
    assert (header(dead.headers, "reason") or b"").decode() == reason
    assert named in (header(dead.headers, "detail") or b"").decode()
    assert header(dead.headers, "source-offset") == b"3"
    assert header(dead.headers, "api-key") in (None, b"redacted")
    (row,) = rows(outcome)
    assert (row["kind"], row["class"]) == ("rejected", reason)
    assert named in row["detail"]
    assert row["request_offset"] == 3
    assert row["tenant"] == ("" if reason == "unauthenticated" else here.tenant)
    assert accepted_at_ms(row["email_id"]) == STAMP_MS
    assert written(harmed) == [(READY, 0), (topics.EVENTS, 0)]


def test_a_domain_that_was_removed_after_accept_signs_nothing_more(here, monkeypatch):
    here.store.add_domain(here.tenant, "gone.test", trusted=True)
    value = VALUE | {"from": "a@gone.test"}
    assert messages(here.rendered(here.granted(value)))
    here.store.remove_domain(here.tenant, "gone.test")
    later_ms = clock.now_ms() + 6_000  # signers are looked up again after five seconds
    monkeypatch.setattr(clock, "now_ms", lambda: later_ms)
    fresh = RenderRequests(render_ports(config.load(), here.store, here.log))
    (outcome,) = fresh([here.granted(value)])
    assert rows(outcome)[0]["class"] == "domain_not_usable"


def test_what_is_done_already_is_not_written_again(here):
    value = VALUE | {"to": ["a@b.test", "b@b.test", "c@b.test"]}
    done = frozenset({(READY, 0), (topics.EVENTS, 0), (READY, 1)})
    whole = here.rendered(here.granted(value))
    rest = here.rendered(here.granted(value)._replace(done=done))
    assert written(whole) == [(t, i) for i in range(3) for t in (READY, topics.EVENTS)]
    assert written(rest) == [(topics.EVENTS, 1), (READY, 2), (topics.EVENTS, 2)]
    assert messages(rest) == messages(whole)[2:]


@pytest.mark.parametrize("left", [topics.DEAD, topics.EVENTS])
def test_a_rejection_that_is_half_written_is_completed(here, left):
    (gone,) = {topics.DEAD, topics.EVENTS} - {left}
    rejected = here.foreign(b"{")._replace(done=frozenset({(gone, None)}))
    assert written(here.rendered(rejected)) == [(left, None)]


def test_each_recipient_gets_a_copy_with_its_own_message_id_and_bcc_stays_hidden(here):
    value = VALUE | {"cc": ["c@c.test"], "bcc": ["secret@d.test"]}
    outcome = here.rendered(here.granted(value))
    assert [d.rcpt for d in deliveries(outcome)] == ["ada@b.test", "c@c.test", "secret@d.test"]
    copies = [parsed(raw) for raw in messages(outcome)]
    assert len({copy["Message-ID"] for copy in copies}) == 3
    assert all(b"secret" not in raw for raw in messages(outcome))
    assert [row["rcpts"] for row in rows(outcome)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("version", "subject", "html"),
    [(1, "Hi <Ada>", "<b>&lt;Ada&gt;</b>"), (2, "Other <Ada>", "<i>&lt;Ada&gt;</i>")],
)
def test_a_template_is_rendered_in_the_version_that_was_pinned(here, version, subject, html):
    template = {"id": "hello", "version": version, "variables": {"name": "<Ada>"}}
    value = {"from": "a@acme.test", "to": "ada@b.test", "template": template}
    (delivery,) = deliveries(here.rendered(here.granted(value)))
    assert delivery.template == f"hello@{version}"
    message = parsed(delivery.message)
    assert message["Subject"] == subject
    body = message.get_body(("html",))
    assert body is not None
    assert html in body.get_content()


def test_marketing_goes_to_the_ready_topic_of_its_own(here):
    topic = topics.requested(topics.Stream.MARKETING)
    outcome = here.rendered(here.granted(VALUE | {"give_up_after": "2h"}, topic=topic))
    assert outcome.entries[0][0] == topics.ready(topics.Stream.MARKETING)
    assert deliveries(outcome)[0].give_up_at_ms == STAMP_MS + 7_200_000


BODIES: list[dict[str, Any]] = [
    {"html": "<p>Grüße</p>"},
    {"html": None, "text": "line\r\n\n.\n From here\n\n\n"},
    {"html": "<p>" + "x" * 3_000 + "</p>", "text": "y " * 2_000},
    {"subject": "Größe 😀 " * 20, "to": ["Zoë Ünïcode 😀 <z@b.test>", '"a, b" <y@b.test>']},
    {"attachments": [
        {"filename": "Rechnung März – 2026.pdf", "content": "AP+AGg0K"},
        {"filename": "a.txt", "content": "YQpiCg==", "content_type": "text/plain"},
        {"filename": "i.png", "content": "iVBORw==", "content_id": "logo"},
    ]},
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_receivers_find_no_defect_and_both_signatures_by_the_records_that_we_publish(here, body):
    domain = here.store.domain(here.tenant, "acme.test")
    assert domain is not None
    published = {f"{record.name}.".encode(): record.value.encode() for record in domain.records}
    attached = [(a["filename"], b64decode(a["content"])) for a in body.get("attachments", [])]
    for raw in messages(here.rendered(here.granted(VALUE | body))):
        message = parsed(raw)
        for part in message.walk():
            assert not part.defects
        signatures = message.get_all("DKIM-Signature", [])
        assert ["a=rsa" in str(s) or "a=ed25519" in str(s) for s in signatures] == [True, True]
        for index in range(2):
            signed = dkim.DKIM(raw)
            assert signed.verify(index, dnsfunc=lambda name, **_: published.get(name))
        files = {part.get_filename(): part for part in message.walk() if part.get_filename()}
        assert {n: f.get_payload(decode=True) for n, f in files.items()} == dict(attached)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
fields = st.sampled_from(
    ["from", "to", "cc", "subject", "html", "text", "headers", "attachments", "tags", "data",
     "template", "stream", "give_up_after", "reply_to", "other"],
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(given_fields=st.dictionaries(fields, anything, max_size=3))
def test_whatever_the_json_holds_the_record_has_an_outcome(here, given_fields):
    raw = json.dumps(VALUE | given_fields).encode()  # NaN, half surrogates and large numbers too
    outcome = here.rendered(here.foreign(raw))
    assert {row["kind"] for row in rows(outcome)} <= {"rendered", "rejected"}
    assert rows(outcome)


def test_a_message_that_no_record_has_room_for_is_refused(here):
    loop = VALUE | {"text": "{{#each n}}" + "x" * 205 + "\n{{/each}}"}
    (small, large) = [
        here.rendered(here.granted(loop | {"data": {"n": [0] * count}})) for count in (100, 40_000)
    ]
    assert [row["kind"] for row in rows(small)] == ["rendered"]
    (row,) = rows(large)
    assert (row["kind"], row["class"]) == ("rejected", "too_large")
    assert "8,000,000 is the most" in row["detail"]


def dead_of(outcome: Outcome) -> Dead:
    (entry,) = [entry for topic, entry in outcome.entries if topic == topics.DEAD]
    return read_dead(Record(topics.DEAD, 2, 0, *entry[1:], STAMP_MS))


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "foreign"])
def test_a_record_that_kills_the_process_is_put_aside_unread_and_told_to_its_tenant(here, ours):
    of = here.granted(VALUE) if ours else here.foreign(VALUE)
    outcome = here.rendered(of._replace(crashed=True))
    dead = dead_of(outcome)
    assert (dead.reason, dead.flow, dead.tenant_id) == ("crashed", "render", here.tenant)
    (row,) = rows(outcome)
    assert (row["kind"], row["class"], row["tenant"]) == ("rejected", "crashed", here.tenant)
    assert deliveries(outcome) == []


def test_a_foreign_record_is_kept_with_a_grant_in_place_of_its_key_and_can_be_replayed(here):
    outcome = here.rendered(here.foreign(VALUE)._replace(crashed=True))
    dead = dead_of(outcome)
    assert here.api_key.encode() not in b"".join(value for _, value in dead.headers)
    (row,) = rows(outcome)
    (again,) = deliveries(here.rendered(item(dead.inline, dead.headers, offset=9)))
    assert again.email_id == row["email_id"]
    assert again.accepted_at_ms == STAMP_MS


def test_a_foreign_record_without_a_known_key_gets_no_grant(here):
    dead = dead_of(here.rendered(item(b"{}", (("api-key", b"sw_nobody"),))))
    assert dict(dead.headers) == {"api-key": b"redacted"}
    assert dead.tenant_id == ""
