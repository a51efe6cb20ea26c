"""The SMTP engine: a thread with an event loop that makes attempts and hands their results on."""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import Random
from typing import NoReturn

import structlog
import uvloop

from sealwax import clock
from sealwax.model.reply import Command, Reply
from sealwax.smtp.attempt import Attempt, Ended, Surroundings
from sealwax.smtp.doorbell import Doorbell
from sealwax.smtp.job import Job, Result
from sealwax.smtp.resolver import Resolver
from sealwax.smtp.session import NotAllowedError
from sealwax.smtp.settings import SmtpSettings

__all__ = ["Job", "Result", "SmtpEngine"]

logger = structlog.get_logger(__name__)

_DIED = 70  # EX_SOFTWARE: the supervisor starts the process again
_START_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 10.0  # its turns are short
_LAST_WORDS_S = 2.0  # for QUIT to be answered, and connections to be closed
_POLL_S = 0.005
_LOOK_EVERY_S = 0.5
_ASK_EVERY_S = 0.1


class _Running:
    """An attempt in the engine.

    Attributes:
        job: Its job.
        task: What makes it.
        begun_at: When it began, on the monotonic clock.
        dot_at: When its final dot was written; None before that.
        over: Its result was handed on, and the outcome is on its way.
        reported: It was reported as hanging.
    """

    __slots__ = ("begun_at", "dot_at", "job", "over", "reported", "task")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.task: asyncio.Task[None] | None = None
        self.begun_at = clock.monotonic()
        self.dot_at: float | None = None
        self.over = False
        self.reported = False

    @property
    def committed(self) -> bool:
        """Whether a drain must wait for it."""
        return self.over or self.dot_at is not None


class SmtpEngine:
    """Makes one attempt per job, on sessions that it keeps and reuses.

    Guarantees: each job that was submitted before a drain comes to exactly one `on_result`, unless
    the drain drops it before its final dot. While `may_send` forbids it nothing begins and nothing
    passes its final dot; what was on its way begins anew afterwards. A session takes no other
    message before the future that `on_result` returned has ended. After the final dot nothing is
    tried again here. How many sessions a site may have is not decided here.

    Args:
        settings: Timeouts and limits.
        on_result: Called in the engine's thread; must not block. If its future fails the session
            is ended.
        on_hanging: Called in the engine's thread, at most once a job, for an attempt without a
            result after `settings.lease_after`, and at the end of a drain for what is past its
            final dot; with the wall clock time in milliseconds until which a reply is waited for.
        may_send: Asked in the engine's thread, before an attempt, each MAIL and each final dot.
        resolver: Looks hosts up; without one the engine has its own.
        on_free: Called in the engine's thread with a site, and how many of its jobs' permits are
            not needed any more: their connections are gone, or were never made.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        on_result: Callable[[Job, Result], "Future[None]"],
        on_hanging: Callable[[Job, int], None],
        may_send: Callable[[], bool],
        resolver: Resolver | None = None,
        on_free: Callable[[str, int], None] = lambda _site, _permits: None,
    ) -> None:
        self._settings = settings
        self._on_result = on_result
        self._on_hanging = on_hanging
        self._may_send = may_send
        self._random = Random()  # noqa: S311 - spreads load, keeps no secret
        self._on_free = on_free
        self._resolver = resolver
        self._own_resolver: Resolver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._around: Surroundings | None = None
        self._closing: asyncio.Event | None = None
        self._running: set[_Running] = set()
        self._draining = False
        self._submitted = 0  # written under the lock
        self._ended = 0  # written in the engine's thread alone
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="smtp-engine", daemon=True)

    def start(self) -> None:
        """Starts the thread; returns when the engine takes jobs."""
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT_S):
            raise TimeoutError(f"the SMTP engine did not start within {_START_TIMEOUT_S} s")

    def submit(self, jobs: Sequence[Job]) -> None:
        """Takes jobs, in order; never blocks. While draining they are dropped. Thread-safe."""
        with self._lock:
            self._submitted += len(jobs)
        self._call(self._begin, jobs)

    def let_go(self, site: str) -> None:
        """Ends the sessions of a site that have no message; never blocks. Thread-safe."""
        self._call(self._drop_idle, site)

    def open_sessions(self) -> int:
        """Connections that exist. Thread-safe."""
        return self._around.pool.open if self._around else 0

    def busy(self) -> int:
        """Jobs that were submitted and are not settled or dropped. Thread-safe."""
        return self._submitted - self._ended

    def drain(self, at_most: timedelta | None = None) -> Sequence[Job]:
        """Stops: nothing new begins, what is before its final dot is dropped at once.

        Waits, at most `settings.drain` or `at_most` where that is less, for what is past it to have
        its reply and its outcome durable, and reports what still hangs. Blocks; not for the
        engine's thread.

        Returns:
            The jobs that are not over; empty when all is quiet. Ends the process where the
            engine's thread does not answer.
        """
        self._call(self._abandon)
        patience = min(self._settings.drain, at_most or self._settings.drain)
        deadline = clock.monotonic() + patience.total_seconds()
        quiet = threading.Event()  # never set: a bounded, interruptible wait
        while self.busy() and clock.monotonic() < deadline:
            quiet.wait(_POLL_S)
        reported: Future[Sequence[Job]] = Future()
        self._call(self._report_all, reported)
        try:
            return reported.result(_ANSWER_TIMEOUT_S)
        except TimeoutError as cause:
            _die("the SMTP engine hangs", cause)

    def close(self) -> None:
        """Ends every session, whatever it is doing, and the thread."""
        if self._loop is None or not self._thread.is_alive():
            return
        self._call(self._stop)
        self._thread.join(_ANSWER_TIMEOUT_S)
        if self._own_resolver is not None:
            self._own_resolver.close()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is None:
            raise RuntimeError("the SMTP engine is not started")
        self._loop.call_soon_threadsafe(function, *arguments)

    # From here on everything runs in the engine's thread.

    def _run(self) -> None:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        try:
            runner.run(self._main())
        except BaseException as cause:  # noqa: BLE001 - ends the process, whatever it is
            _die("the SMTP engine died", cause)
        # A loop whose connections are still open refuses to be closed (EBUSY): it is used no more.
        with suppress(OSError):
            runner.close()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        resolver = self._resolver
        if resolver is None:
            resolver = self._own_resolver = Resolver(self._settings, self._random)
        self._around = Surroundings(self._settings, self._random, resolver, self._on_free)
        self._doorbell = Doorbell(self._loop)
        self._started.set()
        watching = asyncio.ensure_future(self._watch())
        await self._closing.wait()
        watching.cancel()
        tasks = [running.task for running in self._running if running.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._around.pool.close()
        deadline = clock.monotonic() + _LAST_WORDS_S
        while self._around.pool.open and clock.monotonic() < deadline:  # noqa: ASYNC110 - it tells no one
            await asyncio.sleep(_POLL_S)

    def _begin(self, jobs: Sequence[Job]) -> None:
        if self._draining:
            self._ended += len(jobs)
            return
        for job in jobs:
            if self._around is not None:
                self._around.gates.begin(job.site, job.permits)
            running = _Running(job)
            self._running.add(running)
            running.task = asyncio.ensure_future(self._attempt(running))
            running.task.add_done_callback(partial(self._over, running))

    def _drop_idle(self, site: str) -> None:
        if self._around is not None:
            self._around.pool.drop(site)

    def _abandon(self) -> None:
        self._draining = True
        for running in self._running:
            if not running.committed and running.task is not None:
                running.task.cancel()
        if self._around is not None:
            self._around.pool.close()

    async def _watch(self) -> None:
        """Reports attempts that take long."""
        lease_after_s = self._settings.lease_after.total_seconds()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            begun_before = clock.monotonic() - lease_after_s
            for running in list(self._running):
                if running.begun_at < begun_before:
                    self._report(running)

    def _report_all(self, reported: "Future[Sequence[Job]]") -> None:
        for running in self._running:
            if running.dot_at is not None:
                self._report(running)
        reported.set_result([running.job for running in self._running])

    def _report(self, running: _Running) -> None:
        if running.over or running.reported:
            return
        running.reported = True
        timeout, since = self._settings.command_timeout, clock.monotonic()
        if running.dot_at is not None:
            timeout, since = self._settings.dot_timeout, running.dot_at
        left_s = timeout.total_seconds() - (clock.monotonic() - since)
        try:
            self._on_hanging(running.job, clock.now_ms() + max(0, round(left_s * 1000)))
        except BaseException as cause:  # noqa: BLE001 - ends the process, whatever it is
            _die("the SMTP engine could not report an attempt", cause)

    def _stop(self) -> None:
        self._draining = True
        if self._closing is not None:
            self._closing.set()

    async def _attempt(self, running: _Running) -> None:
        try:
            ended = await self._made(running)
            if ended is not None:
                await self._settle(running, ended)
        except asyncio.CancelledError:
            pass  # dropped: its record is unsettled, so it is read again
        except BaseException as cause:  # noqa: BLE001 - ends the process, whatever it is
            _die("the SMTP engine could not hand a result on", cause)

    def _over(self, running: _Running, _: "asyncio.Task[None]") -> None:
        # Not in a `finally` of the attempt: a task that is canceled before its first step has none.
        self._running.discard(running)
        self._ended += 1
        if self._around is not None:
            self._around.gates.end(running.job.site)

    async def _made(self, running: _Running) -> Ended | None:
        """The attempt; None in a drain."""
        if self._around is None:
            return None
        while not self._may_send():
            if self._draining:
                return None
            await asyncio.sleep(_ASK_EVERY_S)

        def may_end() -> bool:
            if not self._may_send():
                return False
            running.dot_at = clock.monotonic()
            return True

        started_at_ms, started_at = clock.both()
        try:
            return await Attempt(running.job, self._around, self._may_send, may_end).run()
        except NotAllowedError:
            return await self._made(running)
        except Exception:
            # A defect of ours must not take the other sessions along, nor lose the message: it is
            # an unknown failure, hence temporary.
            logger.exception("an attempt failed", domain=running.job.domain)
            taken_ms = round((clock.monotonic() - started_at) * 1000)
            in_doubt = running.dot_at is not None
            return Ended(_defect(started_at_ms, taken_ms, in_doubt=in_doubt), None)

    async def _settle(self, running: _Running, ended: Ended) -> None:
        """Hands the result on; the session is free again when its outcome is durable."""
        running.over = True
        session = ended.session
        future = self._on_result(running.job, ended.result)
        try:
            await self._doorbell.wait(future)
        except Exception:
            logger.exception("an outcome was not stored", domain=running.job.domain)
            if session is not None:
                session.abort()
            return
        except asyncio.CancelledError:
            if session is not None:
                session.abort()
            raise
        if session is not None and self._around is not None:
            if self._draining or not session.usable:
                session.quit()
            elif not self._around.gates.offer(session):
                self._around.pool.put(session, running.job.idle_s)


def _die(what: str, cause: BaseException) -> NoReturn:
    """Ends the process: without its engine, dispatch would stand still and nobody notice."""
    logger.critical(what, exc_info=cause)
    os._exit(_DIED)


def _defect(started_at_ms: int, taken_ms: int, *, in_doubt: bool) -> Result:
    return Result(
        reply=Reply(Command.ROUTE, 0, "4.3.0", "internal error, see the log"),
        accepted=False,
        in_doubt=in_doubt,
        mx_host="",
        mx_ip="",
        source_ip="",
        tls="",
        connect_ms=0,
        smtp_ms=taken_ms,
        dot_ms=0,
        reused=False,
        started_at_ms=started_at_ms,
        ended_at_ms=started_at_ms + taken_ms,
    )
