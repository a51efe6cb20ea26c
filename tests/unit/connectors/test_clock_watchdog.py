"""The thread that watches the clocks, over a real log and a file that all processes read."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connectors import clock_watchdog
from connectors.clock_watchdog import ClockWatchdog
from connectors.log import LogSettings, open_log
from connectors.log.port import Entry, TopicPartition
from connectors.log.stamps import FreshStamps
from sealwax import clock
from sealwax.errors import LogAwayError
from sealwax.model import topics
from sealwax.store.clock_file import ClockFile, Suspicion
from tests.support.waiting import wait_until

TP = TopicPartition(topics.EVENTS, 0)
DAY_S = 86_400


class Bench:
    """A watchdog, and clocks that go on by themselves and are moved by the test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_s, self.passed_s, self.looks = 0.0, 0.0, 0
        both, monotonic = clock.both, clock.monotonic

        def moved_both() -> tuple[int, float]:
            self.looks += 1
            wall_ms, monotonic_s = both()
            moved_ms = (self.wall_s + self.passed_s) * 1000
            return wall_ms + round(moved_ms), monotonic_s + self.passed_s

        monkeypatch.setattr(clock, "both", moved_both)
        monkeypatch.setattr(clock, "monotonic", lambda: monotonic() + self.passed_s)
        monkeypatch.setattr(clock_watchdog, "_LOOK_EVERY_S", 0.01)
        self.log = open_log(LogSettings(folder / "log", 1))
        self.log.create_topics(topics.ALL)
        self.file = ClockFile(folder)
        self.went_back = 0
        self.stamps = FreshStamps(self.log, [TP])

    def watchdog(self) -> ClockWatchdog:
        made = ClockWatchdog(self.file, self.stamps, self._on_back)
        made.start()
        return made

    def _on_back(self) -> None:
        self.went_back += 1


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    with closing(made.log):
        yield made
        made.wall_s -= DAY_S  # ends the threads
        made.passed_s += 1


def test_a_step_back_is_said_once(bench):
    watchdog = bench.watchdog()
    bench.wall_s = -2
    wait_until(lambda: bench.went_back, 5, "the step to be seen")
    bench.wall_s = -4
    assert not watchdog.suspect()
    assert bench.went_back == 1


def test_time_that_passes_is_no_step(bench):
    watchdog = bench.watchdog()
    bench.passed_s = 2 * DAY_S
    bench.wall_s = 61
    suspicion = wait_until(bench.file.suspicion, 5, "the step of a minute")
    assert watchdog.suspect()
    assert suspicion is not None
    assert suspicion.step_ms == pytest.approx(61_000, abs=50)
    assert bench.went_back == 0


def test_a_step_forward_is_known_before_the_thread_has_looked(bench, monkeypatch):
    monkeypatch.setattr(clock_watchdog, "_LOOK_EVERY_S", 3_600)
    watchdog = bench.watchdog()
    assert not watchdog.suspect()
    bench.wall_s = 2 * DAY_S
    assert watchdog.suspect()


def test_a_clock_that_stepped_forward_is_suspect_for_all_processes_until_it_is_accepted(bench):
    first, second = bench.watchdog(), bench.watchdog()
    bench.wall_s = 2 * DAY_S
    wait_until(lambda: first._suspect and second._suspect, 5, "both threads to have seen it")
    third = bench.watchdog()
    assert third.suspect(), "a restart does not trust it"
    bench.file.accept()
    wait_until(lambda: not any(one.suspect() for one in (first, second, third)), 5, "trust in all")


def test_ten_minutes_that_agree_with_the_log_make_it_trusted_again(bench):
    bench.file.suspect(Suspicion(DAY_S * 1000, 0))
    watchdog = bench.watchdog()
    bench.passed_s += 500
    agreed_since_ms = watchdog._last.agreed_since_ms
    bench.log.append_wait(TP.topic, [Entry(0, b"k", b"{}")])  # stamped 500 s behind this clock
    bench.passed_s += 20
    wait_until(lambda: watchdog._last.agreed_since_ms > agreed_since_ms, 5, "the log to be heard")
    bench.passed_s += 200
    looks = bench.looks
    wait_until(lambda: bench.looks > looks + 2, 5, "two looks")
    assert watchdog.suspect(), "720 s have passed, but not 600 s since the log disagreed"
    bench.passed_s += 500
    wait_until(lambda: not watchdog.suspect(), 5, "trust")
    assert bench.file.suspicion() is None


def test_a_step_back_is_seen_while_the_log_does_not_answer(bench, monkeypatch):
    asked, answers = threading.Event(), threading.Event()

    def take() -> None:
        asked.set()
        answers.wait(60)

    monkeypatch.setattr(bench.stamps, "take", take)
    bench.file.suspect(Suspicion(DAY_S * 1000, 0))
    bench.watchdog()
    bench.passed_s += 20
    assert asked.wait(10)
    bench.wall_s = -2
    wait_until(lambda: bench.went_back, 10, "the step to be seen")
    answers.set()


def test_a_log_that_is_away_is_asked_again(bench, monkeypatch):
    asked = []

    def take() -> int:
        asked.append(1)
        raise LogAwayError("away")

    monkeypatch.setattr(bench.stamps, "take", take)
    bench.file.suspect(Suspicion(DAY_S * 1000, 0))
    bench.watchdog()
    bench.passed_s += 20
    wait_until(lambda: asked, 10, "the question")
    bench.passed_s += 20
    wait_until(lambda: len(asked) == 2, 10, "the second one")


def test_a_file_that_cannot_be_read_is_a_clock_that_is_not_trusted(tmp_path):
    file = ClockFile(tmp_path)
    assert file.suspicion() is None
    file.suspect(Suspicion(1, 2))
    assert file.suspicion() == Suspicion(1, 2)
    (tmp_path / "run" / "clock.json").write_text("?")
    assert file.suspicion() is not None
    file.accept()
    file.accept()
    assert file.suspicion() is None
