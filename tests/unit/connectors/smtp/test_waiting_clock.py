"""The clock that messages wait by."""

from connectors.smtp.waiting_clock import WaitingClock
from sealwax import clock


class Bench:
    """A clock over a log that is away when the test says so."""

    def __init__(self, monkeypatch) -> None:
        self.now = 1_000.0
        self.waiting_since: float | None = None
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        self.clock = WaitingClock(lambda: self.waiting_since)
        self._begun_ms = self.clock.now_ms()

    def passed_s(self, seconds: float) -> float:
        """Lets time pass, looked at every 10 ms as the source does; what passed in all."""
        for _ in range(round(seconds * 100)):
            self.now += 0.01
            self.clock.now_ms()
        return round((self.clock.now_ms() - self._begun_ms) / 1000, 1)


def test_it_goes_on_while_appends_are_acknowledged_within_a_second(monkeypatch):
    bench = Bench(monkeypatch)
    assert bench.passed_s(5) == 5
    for _ in range(10):
        bench.waiting_since = bench.now
        bench.passed_s(0.9)
    assert bench.passed_s(0) == 14


def test_it_stands_still_from_a_second_on_until_the_append_is_acknowledged(monkeypatch):
    bench = Bench(monkeypatch)
    bench.waiting_since = bench.now
    assert bench.passed_s(600) == 1
    bench.waiting_since = None
    assert bench.passed_s(5) == 6
