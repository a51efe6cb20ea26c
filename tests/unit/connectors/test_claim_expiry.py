"""When claims are deleted: real store, real log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.claim_expiry import ClaimExpiry
from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Entry, Log, TopicPartition
from connectors.log.settled import settled_before_ms
from sealwax import clock
from sealwax.model import topics
from sealwax.policy.idempotency import Take
from sealwax.store.relational import RelationalSettings, Store, open_store, sqlite_url

FIRST, SECOND = topics.REQUESTED
HOUR_MS = 3_600_000


class Here:
    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(
            RelationalSettings(sqlite_url(folder / "sealwax.db"), folder / "master.key")
        )
        self.log: Log = open_log(LogSettings(folder / "log"))
        self.log.create_topics(topics.ALL)
        self.expiry = ClaimExpiry(self.log, "render", topics.REQUESTED, self.store.delete_claims)

    def claim(self, count: int) -> None:
        self.store.write_claims([Take(f"idem:t:{n}", b"", ("a",), HOUR_MS) for n in range(count)])

    def append(self, topic: str, partition: int) -> None:
        self.log.append_wait(topic, [Entry(partition, b"k", b"v")])

    def settle(self, topic: str, partition: int, offset: int) -> None:
        self.log.commit("render", {TopicPartition(topic, partition): Committed(offset)})

    def close(self) -> None:
        self.expiry.close()
        self.log.close()
        self.store.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.close()


@pytest.fixture
def later(monkeypatch):
    """Moves the clock on by so many milliseconds."""

    def move(ms: int) -> None:
        now_ms = clock.now_ms() + ms
        monkeypatch.setattr(clock, "now_ms", lambda: now_ms)

    return move


def test_where_nothing_waits_an_expired_claim_goes_and_no_other(here, later):
    here.claim(2_500)
    assert here.expiry.sweep() == 0
    later(HOUR_MS + 61_000)
    here.store.write_claims([Take("idem:t:new", b"", ("a",), HOUR_MS)])
    assert here.expiry.sweep() == 2_500
    assert here.expiry.sweep() == 0


@pytest.mark.parametrize("topic", topics.REQUESTED)
def test_a_request_of_its_life_that_is_not_settled_keeps_a_claim(here, later, topic):
    here.claim(1)
    here.append(topic, 3)
    later(2 * HOUR_MS)
    assert here.expiry.sweep() == 0
    here.settle(topic, 3, 1)
    assert here.expiry.sweep() == 1


def test_the_time_is_that_of_the_oldest_request_of_any_partition(here):
    now_ms = clock.now_ms()
    assert settled_before_ms(here.log, "render", topics.REQUESTED, now_ms) == now_ms - 60_000
    here.append(FIRST, 0)
    here.append(SECOND, 1)
    here.append(FIRST, 0)
    stamps = [
        record.stamp_ms
        for tp in (TopicPartition(FIRST, 0), TopicPartition(SECOND, 1))
        for record in here.log.scan(tp, 0, here.log.end_offset(tp))
    ]
    assert settled_before_ms(here.log, "render", topics.REQUESTED, now_ms) == stamps[0]
    here.settle(FIRST, 0, 1)
    assert settled_before_ms(here.log, "render", topics.REQUESTED, now_ms) == min(stamps[1:])
