"""The stamps of a log that the wall clock is held against, over every adapter of the log port."""

from connectors.log.port import TopicPartition
from connectors.log.stamps import FreshStamps
from sealwax import clock
from tests.support.log_reading import TOPIC, TP, fill

# The stamps are of the broker's clock, which is this machine's, in whole milliseconds.
_MS = 5


def test_a_fresh_stamp_is_that_of_a_record_appended_since(log):
    other = TopicPartition(TOPIC, 2)
    fill(log, 3)
    stamps = FreshStamps(log, [TP, other])
    assert stamps.take() is None
    for tp in (TP, other, TP):
        begun_ms = clock.now_ms()
        fill(log, 2, tp=tp)
        stamp_ms = stamps.take()
        assert stamp_ms is not None
        assert begun_ms - _MS <= stamp_ms <= clock.now_ms() + _MS
        assert stamps.take() is None


def test_of_several_partitions_the_newest_stamp_counts(log):
    tps = [TopicPartition(TOPIC, number) for number in range(4)]
    stamps = FreshStamps(log, tps)
    for tp in tps[:3]:
        fill(log, 2, tp=tp)
    newest = max(record.stamp_ms for tp in tps for record in log.scan(tp, 0, log.end_offset(tp)))
    assert stamps.take() == newest


def test_a_record_that_is_gone_again_is_no_stamp(log):
    stamps = FreshStamps(log, [TP])
    fill(log, 2)
    log.delete_before(TP, log.end_offset(TP))
    assert stamps.take() is None
