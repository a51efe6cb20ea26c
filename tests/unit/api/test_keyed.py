"""Keyed requests whose log or store fails in the middle: real log, real store, no HTTP."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from typing_extensions import override

from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, Log, OnDurable, TopicPartition
from sealwax.api.accept import Acceptor
from sealwax.api.appends import Appends
from sealwax.api.claims import Claims
from sealwax.api.keyed import KeyedAcceptor
from sealwax.api.problems import ProblemError
from sealwax.api.recent import RecentEmails
from sealwax.errors import NotConfirmedError, StorageFullError
from sealwax.mail.submission import SubmissionLimits
from sealwax.model import topics
from sealwax.policy.idempotency import Finish, GiveUp, Take, Taken
from sealwax.store.relational import (
    RelationalSettings,
    Store,
    StoreAwayError,
    open_store,
    sqlite_url,
)

EMAIL = {"from": "hello@acme.test", "to": "ada@example.test", "subject": "Hi", "text": "Hello"}
BATCH = json.dumps([EMAIL, EMAIL | {"stream": "marketing"}, EMAIL]).encode()
DAY_MS = 86_400_000
FULL = StorageFullError("the test's own")
UNKNOWN = NotConfirmedError("the test's own")
MARKETING = topics.requested(topics.Stream.MARKETING)
TRANSACTIONAL = topics.requested(topics.Stream.TRANSACTIONAL)


class FailingOnce:
    """A log whose first append to a topic fails, and is stored all the same where nobody knows."""

    def __init__(self, log: Log, topic: str, error: Exception) -> None:
        self._log = log
        self._failing = topic
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)

    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        if topic != self._failing:
            self._log.append(topic, entries, on_durable)
            return
        self._failing = ""
        if isinstance(self._error, NotConfirmedError):
            self._log.append_wait(topic, entries)
        on_durable(self._error)


class Unclosing(Claims):
    """The store goes away after every append."""

    @override
    async def close(self, claim: Finish | GiveUp) -> None:
        raise StoreAwayError("the test's own outage")


class Away(Claims):
    """The store is away all the time."""

    @override
    async def take(self, wanted: Take) -> Taken:
        raise StoreAwayError("the test's own outage")


class Here:
    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(
            RelationalSettings(sqlite_url(folder / "sealwax.db"), folder / "master.key")
        )
        self.store.add_domain("default", "acme.test", trusted=True)
        self.log: Log = open_log(LogSettings(folder / "log"))
        self.log.create_topics(topics.ALL)

    def keyed(
        self, *, failing: str = "", error: Exception = FULL, claims: type[Claims] = Claims
    ) -> KeyedAcceptor:
        log: Log = FailingOnce(self.log, failing, error)  # type: ignore[assignment]  # the rest is the log's own
        recent = RecentEmails(topics.REQUESTED, 4)
        appends = Appends(log, timedelta(seconds=10))
        partitions = {topic: log.partitions(topic) for topic in topics.REQUESTED}
        acceptor = Acceptor(appends, partitions, self.store, recent, SubmissionLimits())
        return KeyedAcceptor(acceptor, claims(self.store), DAY_MS)

    def ids(self) -> Counter[str]:
        """How often each email's request stands in the log."""
        partitions = [TopicPartition(t, n) for t in topics.REQUESTED for n in range(4)]
        return Counter(
            dict(record.headers)["email-id"].decode()
            for tp in partitions
            for record in self.log.scan(tp, 0, self.log.end_offset(tp))
        )


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.log.close()
    made.store.close()


async def send_batch(keyed: KeyedAcceptor) -> bytes:
    emails = msgspec.json.decode(BATCH, type=list[msgspec.Raw])
    return await keyed.accept_all("default", "k", BATCH, emails)


def test_a_batch_of_which_a_part_could_not_be_stored_is_completed_by_its_repeat(here):
    async def run() -> tuple[bytes, bytes]:
        keyed = here.keyed(failing=MARKETING)
        # Not that nothing was accepted: two of them are stored.
        with pytest.raises(NotConfirmedError):
            await send_batch(keyed)
        assert len(here.ids()) == 2
        return await send_batch(keyed), await send_batch(keyed)

    completed, again = asyncio.run(run())
    assert again == completed
    first, marketing, last = (item["id"] for item in json.loads(completed)["data"])
    # What stood there before stands there again, under the same id: render takes one of the two.
    assert here.ids() == {first: 2, marketing: 1, last: 2}


def test_a_request_of_which_nobody_knows_whether_it_is_stored_keeps_its_id(here):
    body = json.dumps(EMAIL).encode()

    async def run() -> bytes:
        keyed = here.keyed(failing=TRANSACTIONAL, error=UNKNOWN)
        with pytest.raises(NotConfirmedError):
            await keyed.accept("default", "k", body)
        assert len(here.ids()) == 1
        return await keyed.accept("default", "k", body)

    accepted = asyncio.run(run())
    assert here.ids() == {json.loads(accepted)["id"]: 2}


def test_a_batch_of_which_nothing_could_be_stored_says_so(here):
    body = json.dumps([EMAIL]).encode()

    async def run() -> None:
        raw = msgspec.json.decode(body, type=list[msgspec.Raw])
        with pytest.raises(StorageFullError):
            await here.keyed(failing=TRANSACTIONAL).accept_all("default", "k", body, raw)

    asyncio.run(run())
    assert here.ids() == {}


def test_a_store_that_goes_away_after_the_append_does_not_take_the_answer_back(here):
    body = json.dumps(EMAIL).encode()

    async def run() -> bytes:
        keyed = here.keyed(claims=Unclosing)
        accepted = await keyed.accept("default", "k", body)
        with pytest.raises(ProblemError, match="being accepted"):
            await keyed.accept("default", "k", body)
        return accepted

    accepted = asyncio.run(run())
    assert here.ids() == {json.loads(accepted)["id"]: 1}


def test_a_store_that_is_away_before_the_append_refuses_and_nothing_is_appended(here):
    async def run() -> None:
        with pytest.raises(StoreAwayError):
            await here.keyed(claims=Away).accept("default", "k", json.dumps(EMAIL).encode())

    asyncio.run(run())
    assert here.ids() == {}
