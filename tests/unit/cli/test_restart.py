"""When a process that died starts again."""

from sealwax.cli.restart import History, restart
from sealwax.policy.clock_watch import WENT_BACK_STATUS


def waits(*, status: int, lived_s: float, times: int) -> list[float]:
    history, found = History(), []
    for _ in range(times):
        wait_s, history = restart(history, status=status, lived_s=lived_s)
        found.append(wait_s)
    return found


def test_the_first_restart_is_immediate_and_later_ones_wait_longer_up_to_ten_seconds():
    assert waits(status=1, lived_s=0.1, times=8) == [0, 0.5, 1, 2, 4, 8, 10, 10]


def test_one_that_lived_long_is_restarted_at_once_however_often():
    assert waits(status=-9, lived_s=60, times=5) == [0] * 5


def test_a_long_life_ends_the_back_off():
    history = History(short_lives=6)
    wait_s, history = restart(history, status=1, lived_s=30)
    assert wait_s == 0
    assert restart(history, status=1, lived_s=1)[0] == 0.5


def test_a_clock_that_went_back_is_no_fault_of_the_process():
    assert waits(status=WENT_BACK_STATUS, lived_s=0.1, times=5) == [0] * 5
