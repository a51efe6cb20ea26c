"""What a process leaves behind for its next start, on a real disk (R16)."""

from pathlib import Path

import pytest

from connectors.log import suspects as module
from connectors.log.port import TopicPartition
from connectors.log.suspects import Suspects
from sealwax.model.delivery import Position

TP = TopicPartition("email.ready.transactional", 0)
OTHER = TopicPartition("email.ready.transactional", 1)
ENDS = {TP: 100, OTHER: 100}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "clock", made)
    # The test looks itself, when it has moved the clock.
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 1_000.0)
    return made


def begun(
    folder: Path, watermark: int = 5, other: int = 0, ends: dict[TopicPartition, int] | None = None
) -> Suspects:
    made = Suspects(folder, "flow")
    made.begin({TP: watermark, OTHER: other}, ends or ENDS)
    return made


def died(folder: Path, times: int, watermark: int = 5, reached: int = 9) -> None:
    """Lives that handed something out and died."""
    for _ in range(times):
        begun(folder, watermark).reached(TP, reached)


def at(offset: int, tp: TopicPartition = TP) -> Position:
    return Position(*tp, offset)


def test_the_third_start_at_one_watermark_is_careful(tmp_path, clock):
    died(tmp_path, 1)
    for careful in (False, False, True, True):
        made = begun(tmp_path)
        assert made.careful is careful
    assert begun(tmp_path, watermark=9).careful is False


def test_starts_that_handed_nothing_out_above_the_watermark_do_not_count(tmp_path, clock):
    for _ in range(5):
        made = begun(tmp_path)
        made.reached(TP, 5)
        assert not made.careful


def test_a_stop_that_was_asked_for_does_not_count_and_a_dataflow_that_broke_does(tmp_path, clock):
    for asked in (True, False):
        for _ in range(5):
            made = begun(tmp_path)
            made.reached(TP, 9)
            made.close(asked=asked)
        assert begun(tmp_path).careful is not asked


def test_a_life_of_a_minute_clears_all(tmp_path, clock):
    died(tmp_path, 3)
    made = begun(tmp_path, watermark=6)
    clock.now_s += 60
    made.look()
    made.reached(TP, 9)
    assert [begun(tmp_path, watermark=6).careful for _ in range(3)] == [False, False, True]


def test_runs_double_and_each_is_settled_before_the_next(tmp_path, clock):
    died(tmp_path, 3, reached=50)
    made = begun(tmp_path)
    offset, sizes = 5, []
    for _ in range(4):
        size = 0
        while made.admit(at(offset + size)):
            size += 1
        assert not made.admit(at(0, OTHER)), "no other partition hands anything out"
        assert not made.settled(TP, offset + size - 1)
        assert made.settled(TP, offset + size)
        offset += size
        sizes.append(size)
    assert sizes == [1, 2, 4, 8]


def test_care_ends_where_the_old_spans_are_settled(tmp_path, clock):
    died(tmp_path, 3, reached=7)
    made = begun(tmp_path)
    assert made.admit(at(5))
    made.settled(TP, 6)
    assert made.admit(at(6))
    assert not made.admit(at(7)), "it was in no life that died"
    careful = [made.careful]
    made.settled(TP, 7)
    careful.append(made.careful)
    assert careful == [True, False]
    assert made.admit(at(7))
    assert made.admit(at(0, OTHER))


def test_care_ends_where_the_log_no_longer_holds_the_rest_of_a_span(tmp_path, clock):
    died(tmp_path, 3, reached=50)
    made = begun(tmp_path)
    assert made.admit(at(60))
    assert not made.careful
    assert not begun(tmp_path, ends={TP: 5, OTHER: 0}).careful


def test_three_deaths_alone_convict_and_others_do_not(tmp_path, clock):
    died(tmp_path, 3)
    for _ in range(3):
        made = begun(tmp_path)
        assert made.admit(at(5))
        assert not made.convicted(at(5))
    made = begun(tmp_path)
    assert made.convicted(at(5))
    assert not made.convicted(at(6))


def test_a_death_after_five_seconds_or_after_the_record_was_settled_is_not_its_own(tmp_path, clock):
    died(tmp_path, 3)
    for settled in (False, True) * 3:
        made = begun(tmp_path)
        assert made.admit(at(5))
        if settled:
            made.settled(TP, 6)
        else:
            clock.now_s += 5
            made.look()
    assert not begun(tmp_path).convicted(at(5))


def test_records_that_are_never_settled_end_the_care_after_a_minute(tmp_path, clock):
    died(tmp_path, 3)
    made = begun(tmp_path)
    assert made.admit(at(5))
    clock.now_s += 60
    made.look()
    assert not made.careful
    assert made.admit(at(6))


def test_a_record_whose_position_cannot_be_stored_is_not_handed_out(tmp_path, clock):
    died(tmp_path / "files", 3)
    made = begun(tmp_path / "files")
    (tmp_path / "files").rename(tmp_path / "away")
    (tmp_path / "files").write_text("no folder")
    assert not made.admit(at(5))
    (tmp_path / "files").unlink()
    assert made.admit(at(5))


@pytest.mark.parametrize("name", ["flow.json", "flow.reached"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b'{"version":9}', b"1/2/x\n"])
def test_a_damaged_file_stops_no_start(tmp_path, clock, name, content):
    died(tmp_path, 3)
    (tmp_path / name).write_bytes(content)
    assert not begun(tmp_path).convicted(at(5))
