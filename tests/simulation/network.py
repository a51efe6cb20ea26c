"""The simulated network: peers that take mail, refuse it or break, and sessions to them."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from connectors.smtp.bridge import SmtpBridge
from sealwax import clock
from sealwax.model.reply import Command, Reply
from sealwax.smtp.job import Job
from tests.support.deliveries import LATER, OK, REFUSED, result

_UNREACHABLE = Reply(Command.CONNECT, 0, "4.4.1", "no answer")
_BROKEN = Reply(Command.DOT, 0, "4.4.2", "connection lost")
_DOT_LATER = Reply(Command.DOT, 451, "4.3.0", "try again")
_DOT_REFUSED = Reply(Command.DOT, 554, "5.7.1", "not wanted")
_DOT_TIMEOUT_MS = 600_000.0  # RFC 5321 4.5.3.2.6
_LEASE_AFTER_MS = 30_000.0


@dataclass(frozen=True)
class Course:
    """How an attempt goes, as its peer decides it.

    Attributes:
        reply: What the peer answers in the end, or what stands for it.
        dot_after_ms: When the session has written the final dot; None if it never comes to that.
        takes: Whether the peer takes the message, whatever it answers.
        reply_after_ms: From the dot, or from the start where there is none, to the reply.
    """

    reply: Reply
    dot_after_ms: float | None
    takes: bool
    reply_after_ms: float


class Network:
    """Peers. They make trouble for a while and take everything after that.

    Attributes:
        delivered: Address -> how many mails its peer took.
        in_doubt: Address -> how many of them were taken though the session broke.
        trouble_left: Attempts that may still go wrong.
    """

    def __init__(self, random: Random) -> None:
        self.delivered: Counter[str] = Counter()
        self.in_doubt: Counter[str] = Counter()
        self.trouble_left = random.choice((0, 3, 10, 30))
        self._trouble = random.random()
        self._hangs_left = random.randint(0, 2)  # each can hold up its lane for ten minutes
        self._random = random

    def course(self) -> Course:
        """What will happen to the next attempt."""
        random = self._random
        begins_ms, takes_ms = random.random() * 40, random.random() * 40
        if not self.trouble_left or random.random() > self._trouble:
            return Course(OK, begins_ms, True, takes_ms)
        self.trouble_left -= 1
        taken = random.random() < 0.5
        if self._hangs_left and random.random() < 0.2:
            self._hangs_left -= 1
            if random.random() < 0.5:
                return Course(_BROKEN, begins_ms, taken, _DOT_TIMEOUT_MS)
            return Course(OK, begins_ms, True, random.random() * _DOT_TIMEOUT_MS)
        return random.choice(
            (
                Course(LATER, None, False, takes_ms),
                Course(REFUSED, None, False, takes_ms),
                Course(_UNREACHABLE, None, False, random.random() * 30_000),
                Course(_DOT_LATER, begins_ms, False, takes_ms),
                Course(_DOT_REFUSED, begins_ms, False, takes_ms),
                Course(_BROKEN, begins_ms, taken, takes_ms),
            )
        )


class _Stage(Enum):
    BEFORE_DOT = auto()
    AFTER_DOT = auto()
    OUTCOME_PENDING = auto()  # the reply came, and its outcome is not durable yet


class _Session:
    def __init__(self, job: Job, course: Course) -> None:
        self.job = job
        self.course = course
        self.stage = _Stage.BEFORE_DOT
        self.took = False
        self.leased = False
        self.held: Future[None] | None = None

    @property
    def doubtful(self) -> bool:
        """Whether the peer has the mail and nothing durable is known to say so."""
        return self.took and not (self.held is not None and self.held.done())


class SimulatedEngine:
    """Stands for sealwax.smtp.engine.SmtpEngine: one job a session, held until its outcome is
    durable.

    Args:
        network: The peers.
        after: Calls a function after that many milliseconds, while this process lives.
        bridge: Takes results, and hears of attempts that take long.
        places: Sessions at once.
    """

    def __init__(
        self,
        network: Network,
        after: Callable[[float, Callable[[], object]], object],
        bridge: SmtpBridge,
        places: int,
    ) -> None:
        self._network = network
        self._after = after
        self._bridge = bridge
        self._places = places
        self._jobs: deque[Job] = deque()
        self._sessions: list[_Session] = []
        self._draining = False
        # By site: permits that came with jobs, jobs that are not over, connections without one.
        self._permits: Counter[str] = Counter()
        self._unended: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()

    def submit(self, jobs: Sequence[Job]) -> None:
        if self._draining:
            return
        for job in jobs:
            site = job.site
            self._unended[site] += 1
            self._permits[site] = max(self._permits[site] + job.permits, self._unended[site])
        self._jobs.extend(jobs)
        self._begin()

    def let_go(self, site: str) -> None:
        self._kept[site] = 0
        self._settle(site)

    def busy(self) -> int:
        return len(self._jobs) + len(self._sessions)

    def abandon(self) -> None:
        """The begin of a drain: what is before its final dot is dropped."""
        self._draining = True
        self._jobs.clear()
        self._sessions = [s for s in self._sessions if s.stage is not _Stage.BEFORE_DOT]

    def report(self) -> None:
        """The end of a drain that has waited long enough: leases for what is past its dot."""
        for session in self._sessions:
            if session.stage is _Stage.AFTER_DOT:
                self._report(session)

    def _report(self, session: _Session) -> None:
        if session.stage is not _Stage.OUTCOME_PENDING and not session.leased:
            session.leased = True
            self._bridge.on_hanging(session.job, clock.now_ms() + int(_DOT_TIMEOUT_MS))

    def kill(self, random: Random) -> list[str]:
        """Ends every session where it stands; the addresses whose mail may come once more.

        A final dot that was written may still reach the peer.
        """
        doubtful = []
        for session in self._sessions:
            if session.stage is _Stage.AFTER_DOT and random.random() < 0.5:
                self._take(session)
            if session.doubtful:
                doubtful.append(session.job.rcpt)
        self._sessions.clear()
        self._jobs.clear()
        return doubtful

    def _begin(self) -> None:
        while self._jobs and len(self._sessions) < self._places:
            session = _Session(self._jobs.popleft(), self._network.course())
            self._sessions.append(session)
            self._kept[session.job.site] -= self._kept[session.job.site] > 0
            self._plan(session, _LEASE_AFTER_MS, self._report)
            course = session.course
            if course.dot_after_ms is None:
                self._plan(session, course.reply_after_ms, self._reply)
            else:
                self._plan(session, course.dot_after_ms, self._dot)

    def _plan(self, session: _Session, ms: float, step: Callable[[_Session], None]) -> None:
        """A step of the session, if it still exists by then."""
        self._after(ms, lambda: step(session) if session in self._sessions else None)

    def _dot(self, session: _Session) -> None:
        session.stage = _Stage.AFTER_DOT
        half_ms = session.course.reply_after_ms / 2
        self._plan(session, half_ms, self._take)
        self._plan(session, session.course.reply_after_ms, self._reply)

    def _take(self, session: _Session) -> None:
        if session.course.takes and not session.took:
            session.took = True
            self._network.delivered[session.job.rcpt] += 1

    def _reply(self, session: _Session) -> None:
        course = session.course
        session.stage = _Stage.OUTCOME_PENDING
        in_doubt = course.reply is _BROKEN
        if in_doubt and session.took:
            self._network.in_doubt[session.job.rcpt] += 1
        accepted = course.reply is OK
        came = result(course.reply, clock.now_ms(), accepted=accepted, in_doubt=in_doubt)
        session.held = self._bridge.on_result(session.job, came)
        session.held.add_done_callback(lambda _: self._plan(session, 0, self._free))

    def _free(self, session: _Session) -> None:
        self._sessions.remove(session)
        site = session.job.site
        self._unended[site] -= 1
        if session.course.reply.command is Command.DOT and session.course.reply is not _BROKEN:
            self._kept[site] += 1
            self._after(session.course.reply_after_ms, lambda: self._close(site))
        self._settle(site)
        self._begin()

    def _close(self, site: str) -> None:
        self._kept[site] -= self._kept[site] > 0
        self._settle(site)

    def _settle(self, site: str) -> None:
        """As sealwax.smtp.gates."""
        working = sum(session.job.site == site for session in self._sessions)
        if working + self._kept[site] > self._permits[site]:
            raise AssertionError(f"more connections to {site} than permits")
        needed = max(self._unended[site], working + self._kept[site])
        free = self._permits[site] - needed
        if free > 0:
            self._permits[site] -= free
            self._bridge.on_free(site, free)
