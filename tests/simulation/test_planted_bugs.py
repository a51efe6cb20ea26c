"""That the simulation finds what it is there to find: each test plants a bug in production code."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from connectors.log.outcomes import OutcomeWriter
from connectors.log.port import Committed, Entry, TopicPartition
from connectors.log.settle import Ends, Settler
from connectors.log.settling import Done, Settling
from connectors.log.source import _LogPartition
from connectors.smtp.bridge import SmtpBridge
from connectors.smtp.leases import Leases
from sealwax.model.delivery import Position
from sealwax.smtp.engine import Job, Result
from tests.simulation.world import PromiseBrokenError, World

_SEEDS = range(1_000)


def first_failure() -> str:
    """What the first seed says that fails; empty where none does."""
    for seed in _SEEDS:
        try:
            World(seed).run()
        except PromiseBrokenError as error:
            return str(error)
    return ""


def test_a_session_that_is_released_before_its_outcome_is_durable_doubles_mail(monkeypatch):
    on_result = SmtpBridge.on_result

    def released(self: SmtpBridge, job: Job, result: Result) -> "Future[None]":
        on_result(self, job, result)
        free: Future[None] = Future()
        free.set_result(None)
        return free

    monkeypatch.setattr(SmtpBridge, "on_result", released)
    assert "mails too many" in first_failure()


def test_a_record_that_is_settled_before_its_outcome_is_durable_is_passed(monkeypatch):
    write = OutcomeWriter.write

    def hasty(
        self: OutcomeWriter,
        appends: Sequence[tuple[str, Sequence[Entry]]],
        settles: Sequence[Position],
        then: Callable[[], None] | None = None,
    ) -> None:
        self._acks.extend(settles)
        write(self, appends, settles, then)

    monkeypatch.setattr(OutcomeWriter, "write", hasty)
    assert "which is open" in first_failure()


def test_a_watermark_that_passes_an_unsettled_record_is_seen(monkeypatch):
    def leap(self: Settler) -> None:
        if self._above:
            self._watermark = max(*self._above, self._watermark) + 1
            self._above.clear()

    monkeypatch.setattr(Settler, "_raise_watermark", leap)
    assert "which is open" in first_failure()


def test_an_offset_that_is_committed_backwards_is_seen(monkeypatch):
    commit_point = Settler.commit_point

    def back(self: Settler) -> Committed | None:
        point = commit_point(self)
        behind = point is not None and point.offset and self.unsettled
        return point._replace(offset=point.offset - 1) if point and behind else point

    monkeypatch.setattr(Settler, "commit_point", back)
    failure = (
        first_failure()
    )  # whichever is seen first: the step back, or what it makes of the mark
    assert "went back" in failure or "hides" in failure


def test_a_mark_that_is_taken_too_late_hides_outcomes(monkeypatch):
    def newest_only(self: Settler, ends: Ends) -> None:
        self._marks[-1].ends = ends  # as if nothing had been handed out since

    monkeypatch.setattr(Settler, "mark", newest_only)
    assert "hides" in first_failure()


def test_a_mark_that_forgets_the_last_run_hides_its_outcomes(monkeypatch):
    read_back = Settling._read_back

    def forgetful(self: Settling) -> None:
        read_back(self)
        for settler in self._settlers.values():
            settler.replaying = False

    monkeypatch.setattr(Settling, "_read_back", forgetful)
    assert "hides" in first_failure()


def test_a_start_that_reads_nothing_back_writes_outcomes_twice(monkeypatch):
    def nothing(_self: Settling, _tp: TopicPartition) -> dict[int, Done]:
        return {}

    monkeypatch.setattr(Settling, "take_done", nothing)
    assert "two outcomes" in first_failure()


def test_a_read_back_that_takes_a_part_for_the_whole_loses_recipients(monkeypatch):
    made = _LogPartition.__init__

    def one(self: _LogPartition, *args: object, **_: object) -> None:
        made(self, *args, one_outcome=True)  # type: ignore[arg-type]  # what it was called with

    monkeypatch.setattr(_LogPartition, "__init__", one)
    assert "which is open" in first_failure()


def test_an_append_that_is_refused_and_not_repeated_is_missed(monkeypatch):
    monkeypatch.setattr(OutcomeWriter, "_again", lambda *_: None)
    assert "something is" in first_failure()


def test_two_appends_of_which_the_first_settles_lose_the_second(monkeypatch):
    write = OutcomeWriter.write

    def first_counts(
        self: OutcomeWriter,
        appends: Sequence[tuple[str, Sequence[Entry]]],
        settles: Sequence[Position],
        then: Callable[[], None] | None = None,
    ) -> None:
        write(self, appends[:1], settles, then)
        for append in appends[1:]:
            write(self, [append], [])

    monkeypatch.setattr(OutcomeWriter, "write", first_counts)
    assert "which is open" in first_failure()


def test_a_lease_that_takes_a_lost_attempt_for_one_that_ended_loses_mail(monkeypatch):
    monkeypatch.setattr(
        Leases, "_outcomes", lambda _self, due: frozenset(one.lease.of for one in due)
    )
    assert "which is open" in first_failure()
