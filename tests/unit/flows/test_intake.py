"""Who sent a record and what it asks for, as producers of all kinds write their headers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson
import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import Dead, append_dead, dead_entry
from connectors.log.port import Entry, Headers, Log, TopicPartition
from connectors.log.replay import dead_record, replay
from connectors.log.source import NOTHING_DONE, SourceItem
from flows.operators.intake import Intake, RejectedError, Request
from flows.render import render_ports
from sealwax import config
from sealwax.mail.submission import SubmissionLimits
from sealwax.model import topics
from sealwax.model.claim import key_claim
from sealwax.store.relational import RelationalSettings, Store, open_store, sqlite_url

TOPIC = topics.requested(topics.Stream.TRANSACTIONAL)
GOOD = {"from": "hello@acme.test", "to": "ada@b.test", "subject": "Hi", "text": "Hello"}


@dataclass
class Here:
    store: Store
    log: Log
    key: str
    other_key: str

    def intake(self, trusted_tenant: Callable[[str], bool] | None = None) -> Intake:
        return Intake(
            grant_key=self.store.master_key.derive("grant"),
            tenant_of_key=lambda key: getattr(self.store.tenant_of_key(key), "tenant_id", None),
            incarnation=self.log.incarnation,
            limits=SubmissionLimits(),
            trusted_tenant=trusted_tenant,
        )

    def item(
        self, headers: Headers, value: bytes | None = orjson.dumps(GOOD), key: bytes | None = None
    ) -> SourceItem:
        """A record as the log gives it back."""
        (offset,) = self.log.append_wait(TOPIC, [Entry(0, key, value, headers)])
        return self.at(offset)

    def at(self, offset: int) -> SourceItem:
        (record,) = self.log.scan(TopicPartition(TOPIC, 0), offset, offset + 1)
        return SourceItem(record, NOTHING_DONE)

    def put_aside(self, item: SourceItem, intake: Intake) -> Dead:
        """The dead record of one that must be refused, read back from `email.dead`."""
        with pytest.raises(RejectedError) as caught:
            intake.read(item)
        error = caught.value
        record = item.record._replace(headers=intake.kept_headers(item.record, error))
        tp = TopicPartition(topics.DEAD, 0)
        offset = self.log.end_offset(tp)
        entry = dead_entry(
            record, error.reason, error.detail, flow="render", tenant_id=error.tenant_id
        )
        append_dead(self.log, entry)
        dead = dead_record(self.log, 0, offset)
        assert dead
        return dead


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    directory = tmp_path_factory.mktemp("intake")
    store = open_store(
        RelationalSettings(sqlite_url(directory / "sealwax.db"), directory / "master.key")
    )
    log = open_log(LogSettings(directory / "log"))
    log.create_topics(topics.ALL)
    store.create_tenant("other", "Another one")
    keys = [store.create_key(tenant, "test").key for tenant in ("default", "other")]
    yield Here(store, log, *keys)
    log.close()
    store.close()


def read(here: Here, *headers: tuple[str, bytes], **options: bytes | None) -> Request:
    return here.intake().read(here.item((("api-key", here.key.encode()), *headers), **options))


@pytest.mark.parametrize("name", ["api-key", "Api-Key", "API-KEY"])
def test_a_key_counts_however_its_header_is_spelt_and_is_kept_in_no_spelling(here, name):
    headers = ((name, here.key.encode()),)
    assert here.intake().read(here.item(headers)).tenant_id == "default"
    unknown = b"sw_12345678_" + b"x" * 32
    for key, value in ((unknown, orjson.dumps(GOOD)), (here.key.encode(), b"{")):
        dead = here.put_aside(here.item(((name, key),), value), here.intake())
        assert key not in b"".join(value for _, value in dead.headers)


def test_a_key_in_another_header_opens_nothing_and_is_not_kept_either(here):
    item = here.item((("Authorization", b"Bearer " + here.key.encode()), ("x", b"kept")))
    dead = here.put_aside(item, here.intake())
    assert dead.reason == "unauthenticated"
    assert dead.headers == (("Authorization", b"Bearer redacted"), ("x", b"kept"))


def test_a_revoked_key_opens_nothing_and_the_reason_says_so(here):
    created = here.store.create_key("default", "to be revoked")
    item = here.item((("api-key", created.key.encode()),))
    assert here.intake().read(item)
    here.store.revoke_key("default", created.id)
    dead = here.put_aside(item, here.intake())
    assert (dead.reason, dead.tenant_id) == ("unauthenticated", "")
    assert "revoked" in dead.detail


def test_keys_that_contradict_each_other_open_nothing(here):
    one, other = here.key.encode(), here.other_key.encode()
    dead = here.put_aside(here.item((("api-key", one), ("Api-Key", other))), here.intake())
    assert dead.reason == "unauthenticated"
    assert "differ" in dead.detail
    assert {value for _, value in dead.headers} == {b"redacted"}
    assert here.intake().read(here.item((("api-key", one), ("Api-Key", one)))).tenant_id


@pytest.mark.parametrize(
    "header",
    [
        ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("traceparent", b"\xff\x00 no trace"),
        ("content-type", b""),
        ("", b"\x00\xff"),
        ("größe \U0001f600", b"x" * 5_000),
        ("email-id", b"019ab0c1-7a10-7c3e-8f5e-1b2c3d4e5f60"),
        ("tenant", b"other"),
        ("accepted-at", b"1"),
        ("grant", b"\xff" * 64),
        ("src", b"\xff"),
        ("reason", b"\xff"),
        ("first-position", b"email.requested.transactional/0/0"),
        ("repeatable", b"1"),
    ],
    ids=lambda header: header[0],
)
def test_any_other_header_changes_nothing(here, header):
    plain = read(here)
    for headers in ((header,), (header, header), (header,) * 1_000):
        request = read(here, *headers)
        assert request.submission == plain.submission
        assert (request.tenant_id, request.claim, request.first) == ("default", "", request.source)
        assert request.accepted_at_ms == request.stamp_ms
        assert request.email_id != "019ab0c1-7a10-7c3e-8f5e-1b2c3d4e5f60"


@pytest.mark.parametrize("key", [None, b"", b"default", b"\xff\x00", b"k" * 100_000])
def test_the_key_of_a_record_is_its_producers_own_affair(here, key):
    assert read(here, key=key).tenant_id == "default"


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_a_value_is_put_aside_and_stays_as_it_was(here, value):
    dead = here.put_aside(here.item((("api-key", here.key.encode()),), value), here.intake())
    assert (dead.reason, dead.tenant_id, dead.inline) == ("bad_request", "default", value)


def test_the_stream_of_the_value_must_be_that_of_the_topic(here):
    for stream in ("transactional", None):
        assert read(here, value=orjson.dumps(GOOD | {"stream": stream})).submission.stream
    value = orjson.dumps(GOOD | {"stream": "marketing"})
    dead = here.put_aside(here.item((("api-key", here.key.encode()),), value), here.intake())
    assert dead.reason == "bad_request"
    assert "email.requested.marketing" in dead.detail
    assert dead.inline == value


@pytest.mark.parametrize("name", ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"])
def test_an_idempotency_key_counts_however_its_header_is_spelt(here, name):
    request = read(here, (name, b"order-17"), (name, b"order-17"))
    assert request.claim == key_claim("default", "order-17")


@pytest.mark.parametrize("keys", [[b""], [b"\xff"], ["ü".encode()], [b"x" * 257], [b"a", b"b"]])
def test_an_idempotency_key_that_cannot_be_one_is_refused(here, keys):
    headers = (("api-key", here.key.encode()), *(("Idempotency-Key", key) for key in keys))
    dead = here.put_aside(here.item(headers), here.intake())
    assert dead.reason == "bad_request"
    assert "Idempotency-Key" in dead.detail


def test_a_tenant_header_counts_only_where_the_installation_trusts_it(here):
    item = here.item((("Tenant", b"other"),))
    assert here.put_aside(item, here.intake()).reason == "unauthenticated"
    assert here.intake(here.store.has_tenant).read(item).tenant_id == "other"


@pytest.mark.parametrize(("setting", "trusts"), [("", False), ("off", False), ("on", True)])
def test_the_installation_trusts_it_by_a_setting_that_is_off_by_default(
    here, monkeypatch, setting, trusts
):
    monkeypatch.setenv("SEALWAX_TRUST_TENANT_HEADER", setting)
    intake = render_ports(config.load(), here.store, here.log).intake
    item = here.item((("tenant", b"other"),))
    if trusts:
        assert intake.read(item).tenant_id == "other"
    else:
        assert here.put_aside(item, intake).reason == "unauthenticated"


@pytest.mark.parametrize("named", [b"", b"nobody", b"OTHER", b"other\x00", b"\xff", b"o" * 99_999])
def test_a_tenant_that_is_none_is_not_trusted(here, named):
    dead = here.put_aside(here.item((("tenant", named),)), here.intake(here.store.has_tenant))
    assert (dead.reason, dead.tenant_id) == ("unauthenticated", "")
    assert "tenant" in dead.detail


def test_tenants_that_contradict_each_other_are_not_trusted(here):
    item = here.item((("tenant", b"other"), ("tenant", b"default")))
    assert "differ" in here.put_aside(item, here.intake(here.store.has_tenant)).detail


def test_where_there_is_a_key_too_the_key_decides(here):
    trusting = here.intake(here.store.has_tenant)
    key = ("api-key", here.key.encode())
    assert trusting.read(here.item((("tenant", b"other"), key))).tenant_id == "default"
    unknown = ("api-key", b"sw_nobody")
    assert here.put_aside(here.item((("tenant", b"other"), unknown)), trusting)


def test_a_trusted_record_that_is_replayed_needs_no_trust_any_more(here):
    trusting = here.intake(here.store.has_tenant)
    item = here.item((("tenant", b"other"),), b"{")
    dead = here.put_aside(item._replace(crashed=True), trusting)
    with pytest.raises(RejectedError) as caught:
        here.intake().read(here.at(replay(here.log, dead).offset))
    assert (caught.value.reason, caught.value.tenant_id) == ("bad_request", "other")


def test_a_replayed_record_still_holds_its_idempotency_key_for_the_place_where_it_was_first(here):
    headers = (
        ("api-key", here.key.encode()),
        ("idempotency-key", b"order-18"),
        ("first-position", b"email.requested.marketing/1/1"),
    )
    item = here.item(headers)
    dead = here.put_aside(item._replace(crashed=True), here.intake())
    again = here.intake().read(here.at(replay(here.log, dead).offset))
    assert again.claim == key_claim("default", "order-18")
    assert again.payload_hash
    assert again.first == dead.source
    assert ("was-first-position", headers[2][1]) in dead.headers
    assert again.first.offset == item.record.offset


def test_what_a_record_had_and_no_key_is_in_it_stands_in_its_dead_record_unchanged(here):
    headers = (
        ("traceparent", b"\xff\x00"),
        ("reason", b"mine"),
        ("", b""),
        ("api-key", here.key.encode()),
        ("x", b"1"),
        ("x", b"2"),
        ("repeatable", b"1"),
    )
    dead = here.put_aside(here.item(headers, b"\xff\x00{", b"\x00\xff"), here.intake())
    assert (dead.inline, dead.key, dead.reason) == (b"\xff\x00{", b"\x00\xff", "bad_request")
    ours = {"email-id", "tenant", "accepted-at", "grant"}
    assert [h for h in dead.headers if h[0] not in ours] == [
        *(h for h in headers[:-1] if h[0] != "api-key"),
        ("was-repeatable", b"1"),
    ]
