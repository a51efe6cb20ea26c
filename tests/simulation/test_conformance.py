"""The simulated log against the suite of the log port.

Left out is what needs several threads or processes, and deletion and compaction, which the port
allows to take nothing and no simulated flow asks for.
"""

from collections.abc import Callable, Sequence
from random import Random

import pytest
from typing_extensions import override

from connectors.log.port import Entry, Log, OnDurable
from sealwax.model.topics import TopicSpec
from tests.conformance import test_log, test_log_keeping
from tests.simulation.clock import Agenda, VirtualClock
from tests.simulation.disk import Disk
from tests.simulation.log import SimulatedLog
from tests.support.log_reading import COMPACTED, TOPIC

PARTITIONS = 4
CHOSEN: tuple[Callable[..., None], ...] = (
    test_log.test_a_closed_log_takes_no_append,
    test_log.test_a_read_at_the_end_is_empty_and_goes_on_with_what_comes,
    test_log.test_a_read_ends_where_the_last_record_is_larger_than_its_bytes,
    test_log.test_a_read_returns_no_more_records_than_asked_for,
    test_log.test_a_read_stays_within_its_bytes_but_returns_at_least_one_record,
    test_log.test_a_reader_beyond_the_end_waits_for_its_offset,
    test_log.test_a_reader_starts_at_the_first_record_at_or_above_its_offset,
    test_log.test_a_record_comes_back_as_it_was_appended,
    test_log.test_a_scan_does_not_wait_for_records_that_are_not_there,
    test_log.test_a_scan_returns_a_half_open_range,
    test_log.test_a_value_of_two_megabytes_comes_back_whole,
    test_log.test_an_acknowledged_record_can_be_read,
    test_log.test_an_append_of_nothing_is_acknowledged,
    test_log.test_an_empty_partition_starts_where_it_ends,
    test_log.test_an_unknown_partition_is_refused_and_nothing_of_the_call_is_kept,
    test_log.test_an_unknown_topic_is_a_key_error,
    test_log.test_closing_acknowledges_what_was_appended_before,
    test_log.test_no_key_and_no_value_differ_from_empty_ones,
    test_log.test_one_call_appends_to_several_partitions_and_returns_offsets_in_entry_order,
    test_log.test_readers_of_one_partition_do_not_disturb_each_other,
    test_log.test_records_are_read_in_the_order_of_their_append,
    test_log.test_small_reads_see_every_record_once,
    test_log.test_stamps_never_go_back,
    test_log.test_the_end_is_one_above_the_last_durable_record,
    test_log.test_topics_are_created_once_and_keep_what_they_hold,
    test_log_keeping.test_a_group_that_never_committed_has_no_position,
    test_log_keeping.test_groups_do_not_touch_each_other,
    test_log_keeping.test_lag_counts_from_the_committed_offset_or_the_start,
    test_log_keeping.test_positions_are_committed_with_metadata_and_replaced,
    test_log_keeping.test_positions_of_one_commit_are_stored_together,
    test_log_keeping.test_too_long_metadata_is_refused_and_nothing_is_committed,
)
globals().update({test.__name__: test for test in CHOSEN})


class PromptLog(SimulatedLog):
    """A simulated log whose virtual time passes as soon as something is appended."""

    def __init__(self, disk: Disk, agenda: Agenda) -> None:
        super().__init__(disk, agenda.after, Random(1))
        self._agenda = agenda

    @override
    def append(self, topic: str, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        super().append(topic, entries, on_durable)
        while self.pending:
            self._agenda.advance()


@pytest.fixture
def open_again() -> Callable[[], Log]:
    clock = VirtualClock()
    disk, agenda = Disk(clock, PARTITIONS), Agenda(clock)
    return lambda: PromptLog(disk, agenda)


@pytest.fixture
def log(open_again: Callable[[], Log]) -> Log:
    made = open_again()
    made.create_topics([TopicSpec(TOPIC), TopicSpec(COMPACTED, compacted=True)])
    return made
