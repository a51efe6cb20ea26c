"""What the routes work with."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import ParamSpec, TypeVar

from connectors.log.port import Log
from sealwax.api.accept import Acceptor
from sealwax.api.appends import Appends
from sealwax.api.auth import Authenticator
from sealwax.api.claims import Claims
from sealwax.api.emails import EmailReader
from sealwax.api.keyed import KeyedAcceptor
from sealwax.api.recent import RecentEmails
from sealwax.api.room import Room
from sealwax.mail.submission import SubmissionLimits
from sealwax.model.topics import REQUESTED
from sealwax.store.analytics.port import Analytics
from sealwax.store.processes import ProcessFiles
from sealwax.store.relational import Store

P = ParamSpec("P")
R = TypeVar("R")


class EventThreads:
    """Threads for questions about events: a slow answer keeps no API key waiting."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(8, "events")

    async def run(self, ask: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `ask` returns or raises, called in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: ask(*args, **kwargs))

    def close(self) -> None:
        """Waits for the questions that were asked."""
        self._executor.shutdown()


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes work with.

    Attributes:
        limits: How large an email may be.
        auth: Whose key a request has.
        acceptor: Takes emails.
        keyed: Takes emails that have an Idempotency-Key.
        reader: Reads emails.
        analytics: Answers questions about events; blocks.
        store: Accounts; blocks.
        processes: Which processes are ready.
        events: Threads for `reader` and `analytics`.
        body_timeout: How long the body of a request may take to arrive.
        room: What the bodies of all requests may hold.
    """

    limits: SubmissionLimits
    auth: Authenticator
    acceptor: Acceptor
    keyed: KeyedAcceptor
    reader: EmailReader
    analytics: Analytics
    store: Store
    processes: ProcessFiles
    events: EventThreads
    body_timeout: timedelta
    room: Room


@dataclass(frozen=True, slots=True)
class ApiTimeouts:
    """How long the API waits.

    Attributes:
        body: For the body of a request.
        append: For an append to be durable, or to have failed.
    """

    body: timedelta
    append: timedelta


def make_services(
    log: Log,
    store: Store,
    analytics: Analytics,
    processes: ProcessFiles,
    timeouts: ApiTimeouts,
    *,
    idempotency_keys_kept_ms: int,
) -> Services:
    """Services over these stores. Must be called on the event loop that serves."""
    limits = SubmissionLimits()
    partitions = {topic: log.partitions(topic) for topic in REQUESTED}
    recent = RecentEmails(REQUESTED, max(partitions.values()))
    appends = Appends(log, timeouts.append)
    acceptor = Acceptor(appends, partitions, store, recent, limits)
    return Services(
        limits=limits,
        auth=Authenticator(store),
        acceptor=acceptor,
        keyed=KeyedAcceptor(acceptor, Claims(store), idempotency_keys_kept_ms),
        reader=EmailReader(log, store, analytics, recent),
        analytics=analytics,
        store=store,
        processes=processes,
        events=EventThreads(),
        body_timeout=timeouts.body,
        room=Room(timeouts.body),
    )
