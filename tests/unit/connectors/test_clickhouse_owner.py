"""A process that is not sure of its partitions stores nothing: another one may have done it (R3)."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from connectors.clickhouse.burial import GROUP, Burial
from connectors.clickhouse.io import Flush
from connectors.clickhouse.patience import Patience
from connectors.clickhouse.ranges import followed
from connectors.clickhouse.repair import repair
from connectors.log import LogSettings, open_log
from connectors.log.port import Committed, Log, TopicPartition
from sealwax.model import topics
from tests.support.storing import SOURCES, Breaking, appended, event, held, never, sink_over

pytestmark = pytest.mark.slow


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(open_log(LogSettings(tmp_path / "log", len(SOURCES)))) as log:
        log.create_topics(topics.ALL)
        yield log


def test_a_sink_that_is_not_sure_of_its_partitions_stores_and_commits_nothing(server, log):
    records = appended(log, [event(n) for n in range(40)])
    theirs = {tp: Committed(20, "") for tp in SOURCES}
    log.commit(GROUP, theirs, durable=True)
    sink, _ = sink_over(log, server.client, never, lambda: False)
    sink.write_batch([*records, Flush()])
    sink.close()
    assert log.committed_all(GROUP, SOURCES) == theirs
    assert held(server.client()) == ([], 0, 0)


def test_a_sink_that_said_what_it_stores_and_is_not_sure_then_commits_nothing_over_it(server, log):
    records = appended(log, [event(n) for n in range(40)])
    sure = iter([True, True])
    sink, _ = sink_over(log, server.client, never, lambda: next(sure, False))
    sink.write_batch([*records[:20], Flush()])
    theirs = {SOURCES[0]: Committed(20, "")}
    log.commit(GROUP, theirs, durable=True)
    sink.write_batch([Flush(), *records[20:], Flush()])
    sink.close()
    assert log.committed(GROUP, SOURCES[0]) == Committed(20, "")
    assert held(server.client())[1:] == (20, 0)


@pytest.mark.parametrize("times", range(1, 4))
def test_an_insert_that_broke_is_not_repaired_by_a_process_that_is_not_sure(server, log, times):
    """Another process has its partitions by now, and has stored the rows."""
    records = appended(log, [event(n) for n in range(100)])
    sure = iter([True] * times)
    sink, _ = sink_over(
        log, lambda: Breaking(server.client(), times, 0), never, lambda: next(sure, False)
    )
    sink.write_batch([*records, Flush()])
    sink.close()
    assert held(server.client()) == ([], 0, 0)


def test_a_start_that_is_not_sure_of_its_partitions_ends_without_an_insert(server, log):
    appended(log, [event(n) for n in range(10)])
    uncertain = {tp: Committed(0, "4") for tp in SOURCES}
    log.commit(GROUP, uncertain, durable=True)
    for times in range(3):
        sure = iter([True] * times)
        patience = Patience(None, None, never, partial(next, sure, False))
        with pytest.raises(SystemExit):
            repair(
                log,
                server.client(),
                SOURCES,
                Burial(log, SOURCES),
                patience,
                followed(log, SOURCES, in_cluster=False),
            )
        assert log.committed_all(GROUP, SOURCES) == uncertain


def test_a_sink_that_is_not_sure_of_its_partitions_puts_no_record_aside(server, log):
    """Another process has them by now, and has put it aside."""
    records = appended(log, [b"not json", *(event(n) for n in range(10))])
    sink, _ = sink_over(log, server.client, never, lambda: False)
    sink.write_batch([*records, Flush()])
    sink.close()
    assert log.committed(GROUP, SOURCES[0]) is None
    assert log.end_offset(TopicPartition(topics.DEAD, 0)) == 0
