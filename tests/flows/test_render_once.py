"""Requests that stand in the log more than once, over the render graph with real log and store."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from bytewax.testing import cluster_main
from typing_extensions import override

from connectors.log import LogSettings, open_log
from connectors.log.append import AppendSink, Outcome
from connectors.log.dead import header, read_dead
from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Entry, Headers, Log, Record, TopicPartition
from connectors.log.replay import replay
from connectors.log.settling import Settling
from connectors.log.source import AcksSource, LogSource, SettleSink
from connectors.records import decode_deliveries
from flows import render
from flows.operators.once import OncePerRequest
from flows.operators.patience import Patient
from flows.operators.render import RenderPorts, RenderRequests
from sealwax import config
from sealwax.errors import UnreadableRecordError
from sealwax.mail.grant import grant
from sealwax.mail.keyring import Keyring
from sealwax.model import topics
from sealwax.model.claim import key_claim
from sealwax.model.email_id import email_id
from sealwax.policy.idempotency import Fate, Finish, Take, TakeForRecord
from sealwax.store.relational import (
    RelationalSettings,
    Store,
    StoreAwayError,
    open_store,
    sqlite_url,
)
from tests.support.lifecycle import UntilSettled
from tests.support.waiting import wait_until

READY = topics.ready(topics.Stream.TRANSACTIONAL)
REQUESTED = topics.requested(topics.Stream.TRANSACTIONAL)
DAY_MS = 86_400_000
Step = Callable[[list[Any]], list[Outcome]]


def value(number: int) -> bytes:
    return orjson.dumps(
        {
            "from": "hello@acme.test",
            "to": [f"a{number}@sink.test", f"b{number}@sink.test"],
            "subject": "Hi",
            "text": f"number {number}",
        }
    )


class Stopped(UntilSettled):
    """Runs until all is settled, or until somebody stops it."""

    def __init__(
        self, settling: Settling, stop: Callable[[], bool], idle: Callable[[], bool]
    ) -> None:
        super().__init__(settling, *topics.REQUESTED, idle=idle)
        self._stop = stop

    @override
    def draining(self) -> bool:
        return self._stop() or super().draining()


class Here:
    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(
            RelationalSettings(sqlite_url(folder / "sealwax.db"), folder / "master.key")
        )
        self.store.add_domain("default", "acme.test", trusted=True)
        self.api_key = self.store.create_key("default", "producer").key
        self.log: Log = open_log(LogSettings(folder / "log"))
        self.log.create_topics(topics.ALL)
        self.ports: RenderPorts = render.render_ports(config.load(), self.store, self.log)

    def entry(self, number: int, partition: int) -> Entry:
        """A keyed request as the API appends it."""
        now_ms = 1_795_000_000_000
        ident, raw = self.id_of(number), value(number)
        key = self.store.master_key.derive("grant")
        headers = (
            ("email-id", ident.encode()),
            ("tenant", b"default"),
            ("accepted-at", b"%d" % now_ms),
            ("grant", grant(key, ident, "default", now_ms, raw).encode()),
            ("repeatable", b"1"),
        )
        return Entry(partition, b"default", raw, headers)

    @staticmethod
    def id_of(number: int) -> str:
        return email_id(1_795_000_000_000, number.to_bytes(10, "big"))

    def produced(self, number: int, partition: int, key: bytes) -> Entry:
        """A request of anybody's producer, with an Idempotency-Key."""
        headers: Headers = (("api-key", self.api_key.encode()), ("Idempotency-Key", key))
        return Entry(partition, b"k", value(number), headers)

    def append(self, *entries: Entry) -> None:
        self.log.append_wait(REQUESTED, entries)

    def run(self, step: Step | None = None, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Runs the flow until all is settled, or until `stop`."""
        settling = Settling(self.log, render.spec(self.log), range(4))
        writer = OutcomeWriter(settling)
        process = Stopped(settling, stop, lambda: not writer.pending)
        ports = render.Ports(
            log=LogSource(settling, process, one_outcome=False),
            acks=AcksSource(settling, process),
            render=step or RenderRequests(self.ports),
            outcomes=AppendSink(writer),
            settle=SettleSink(settling, process),
        )
        try:
            cluster_main(render.build(ports), [], 0)
        finally:
            wait_until(lambda: not writer.pending, 10, "appends")
            settling.close()

    def records(self, topic: str) -> list[Record]:
        partitions = [TopicPartition(topic, n) for n in range(self.log.partitions(topic))]
        return [r for tp in partitions for r in self.log.scan(tp, 0, self.log.end_offset(tp))]

    def rendered(self) -> list[tuple[str, int]]:
        """Email and recipient of every record that is ready."""
        found = decode_deliveries([r.value or b"" for r in self.records(READY)])
        assert not any(isinstance(d, UnreadableRecordError) for d in found)
        return sorted((d.email_id, d.rcpt_index) for d in found if not isinstance(d, Exception))

    def rows(self, kind: str) -> list[dict[str, Any]]:
        rows = [orjson.loads(r.value or b"") for r in self.records(topics.EVENTS)]
        return [row for row in rows if row["kind"] == kind]

    def lag(self) -> int:
        return sum(self.log.lag("render", TopicPartition(REQUESTED, n)) for n in range(4))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.log.close()
    made.store.close()


def both(*ids: str) -> list[tuple[str, int]]:
    return sorted((ident, index) for ident in ids for index in range(2))


def test_a_request_that_stands_twice_in_the_log_is_rendered_once(here):
    here.append(here.entry(1, 0), here.entry(2, 0), here.entry(1, 0), here.entry(2, 3))
    here.run()
    assert here.rendered() == both(here.id_of(1), here.id_of(2))
    rows = here.rows("deduplicated")
    assert Counter(row["email_id"] for row in rows) == {here.id_of(1): 1, here.id_of(2): 1}
    (row,) = (row for row in rows if row["email_id"] == here.id_of(1))
    assert (row["tenant"], row["stream"]) == ("default", "transactional")
    assert (row["request_topic"], row["request_partition"], row["request_offset"]) == (
        REQUESTED, 0, 0,
    )  # fmt: skip
    assert f"{REQUESTED}/0/2" in row["detail"]
    assert here.records(topics.DEAD) == []
    assert here.lag() == 0


def test_what_comes_again_after_a_run_is_not_rendered_again(here):
    here.append(here.entry(1, 0))
    here.run()
    here.append(here.entry(1, 0), here.entry(1, 2))
    here.run()
    assert here.rendered() == both(here.id_of(1))
    assert len(here.rows("deduplicated")) == 2


def test_after_a_crash_between_claim_and_append_the_same_record_is_rendered(here):
    here.append(here.entry(1, 0), here.entry(1, 1), here.produced(2, 2, b"k"))
    rendering = RenderRequests(here.ports)

    def dies(items: list[Any]) -> list[Outcome]:
        rendering(items)
        raise RuntimeError("the test's own failure")

    with pytest.raises(RuntimeError):
        here.run(dies)
    assert here.rendered() == []
    here.run()
    assert len(here.rendered()) == 4
    assert set(both(here.id_of(1))) < set(here.rendered())
    assert len(here.rows("deduplicated")) == 1
    assert here.lag() == 0


def test_of_half_an_outcome_the_rest_is_written_after_a_crash_and_no_duplicate_takes_its_place(
    here,
):
    here.append(here.entry(1, 0), here.entry(1, 0))
    rendering = RenderRequests(here.ports)

    def half(items: list[Any]) -> list[Outcome]:
        whole = rendering(items)
        first = whole[0]
        here.log.append_wait(READY, [e for t, e in first.entries if t == READY][:1])
        raise RuntimeError("the test's own failure")

    with pytest.raises(RuntimeError):
        here.run(half)
    assert here.rendered() == both(here.id_of(1))[:1]
    here.run()
    assert here.rendered() == both(here.id_of(1))
    assert len(here.rows("rendered")) == 2
    assert len(here.rows("deduplicated")) == 1


def test_the_key_of_a_producer_is_used_once_and_another_payload_under_it_is_kept_as_dead(here):
    here.append(
        here.produced(1, 0, b"order 1"), here.produced(1, 0, b"order 1"),
        here.produced(2, 0, b"order 1"), here.produced(2, 0, b"order 2"),
        here.produced(1, 0, b""), here.produced(1, 0, b"x" * 257),
    )  # fmt: skip
    here.run()
    assert len(here.rendered()) == 4
    (duplicate,) = here.rows("deduplicated")
    assert duplicate["email_id"] in {ident for ident, _ in here.rendered()}
    reasons = [header(dead.headers, "reason") or b"" for dead in here.records(topics.DEAD)]
    assert sorted(reasons) == [b"bad_request", b"bad_request", b"idempotency_key_used"]
    assert here.lag() == 0


@pytest.mark.parametrize("appended", [False, True])
def test_a_producers_record_under_a_key_of_the_api_takes_the_id_that_the_api_gave(here, appended):
    ident = here.id_of(1)
    claim = Take(key_claim("default", "k"), hashlib.sha256(value(1)).digest(), (ident,), DAY_MS)
    here.store.write_claims([claim, *([Finish(claim.name, (ident,), None)] if appended else [])])
    here.append(here.produced(1, 2, b"k"), *([here.entry(1, 2)] if appended else []))
    here.run()
    assert here.rendered() == both(ident)
    assert len(here.rows("deduplicated")) == appended


def test_a_request_that_was_put_aside_after_its_claim_is_rendered_once_when_it_is_replayed(here):
    here.append(here.entry(1, 0), here.entry(1, 2))
    unusable = replace(here.ports, keyring=Keyring(lambda _tenant, _domain: (), lambda: 0))
    here.run(RenderRequests(unusable))
    (dead,) = [read_dead(record) for record in here.records(topics.DEAD)]
    assert dead.reason == "domain_not_usable"
    replay(here.log, dead)
    here.run()
    here.append(here.entry(1, 3))
    here.run()
    assert here.rendered() == both(here.id_of(1))
    assert len(here.rows("deduplicated")) == 2


def test_a_producers_record_keeps_its_key_when_it_is_replayed(here):
    here.append(here.produced(1, 0, b"k"))
    unusable = replace(here.ports, keyring=Keyring(lambda _tenant, _domain: (), lambda: 0))
    here.run(RenderRequests(unusable))
    here.append(here.produced(1, 2, b"k"), here.produced(2, 2, b"k"))
    here.run()
    assert here.rendered() == []
    dead = [read_dead(record) for record in here.records(topics.DEAD)]
    assert sorted(each.reason for each in dead) == ["domain_not_usable", "idempotency_key_used"]
    for each in dead:
        replay(here.log, each)
    here.run()
    (lacked,) = (each for each in dead if each.reason == "domain_not_usable")
    ident = (header(lacked.headers, "email-id") or b"").decode()
    assert here.rendered() == both(ident)
    assert len(here.records(topics.DEAD)) == 3, "the other value is refused again"


class Away:
    """The store's claims, away for the first calls."""

    def __init__(self, store: Store, calls: int) -> None:
        self._store = store
        self.left = calls

    def __call__(self, wanted: Sequence[TakeForRecord]) -> list[Fate]:
        if self.left > 0:
            self.left -= 1
            raise StoreAwayError("the test's own outage")
        return self._store.claim_for_records(wanted)


def without_store(here: Here, calls: int) -> tuple[Away, RenderRequests]:
    away = Away(here.store, calls)
    once = OncePerRequest(away, DAY_MS)
    return away, RenderRequests(replace(here.ports, once=once))


def test_render_waits_for_a_store_that_is_away(here):
    here.append(*(here.entry(n, n % 4) for n in range(20)))
    away, rendering = without_store(here, 3)
    here.run(Patient(rendering, lambda _seconds: False))
    assert away.left == 0
    assert here.rendered() == both(*(here.id_of(n) for n in range(20)))
    assert here.records(topics.DEAD) == []


def test_render_that_is_stopped_while_the_store_is_away_leaves_the_rest_to_the_next_start(here):
    here.append(*(here.entry(n, n % 4) for n in range(20)))
    away, rendering = without_store(here, 10**9)
    here.run(
        Patient(rendering, lambda _seconds: away.left < 10**9 - 2), stop=lambda: away.left < 10**9
    )
    assert here.rendered() == []
    assert here.lag() == 20
    here.run()
    assert here.rendered() == both(*(here.id_of(n) for n in range(20)))


def test_requests_that_cannot_come_twice_ask_the_store_for_no_claim(here):
    plain = here.entry(1, 0)
    plain = plain._replace(headers=tuple(h for h in plain.headers if h[0] != "repeatable"))
    here.append(
        plain, here.produced(2, 0, b"k")._replace(headers=(("api-key", here.api_key.encode()),))
    )
    _, rendering = without_store(here, 10**9)
    here.run(rendering)
    assert len(here.rendered()) == 4
