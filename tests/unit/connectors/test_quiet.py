"""When a draining process counts as quiet."""

from connectors.quiet import Quiet


class Asked:
    """A `Quiet` on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.busy = False
        self.quiet = Quiet(lambda: self.busy, lambda: self.now)

    def for_a_while(self, seconds: float, every: float = 0.01) -> bool:
        """The last answer of some that were asked for that long."""
        answer = False
        for _ in range(round(seconds / every)):
            self.now += every
            answer = self.quiet.lasts(0.6)
        return answer


def test_it_is_quiet_after_that_long_without_work():
    asked = Asked()
    assert not asked.for_a_while(0.55)
    assert asked.for_a_while(0.1)


def test_work_starts_the_time_anew():
    asked = Asked()
    asked.for_a_while(0.5)
    asked.busy = True
    asked.for_a_while(1)
    asked.busy = False
    assert not asked.for_a_while(0.55)
    assert asked.for_a_while(0.1)


def test_time_in_which_the_dataflow_did_not_ask_is_not_quiet():
    asked = Asked()
    asked.for_a_while(0.1)
    asked.now += 3  # a batch that took so long: its outcomes are on their way through the dataflow
    assert not asked.quiet.lasts(0.6)
    assert asked.for_a_while(0.7)
