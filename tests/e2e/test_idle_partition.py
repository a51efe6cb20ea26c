"""A partition that rests beside others' events: its next start reads few of them back (R2).

A mail that is refused for now stands in the delay topic of an hour, so that the partition is not
settled to its end; what other sources write to the same events goes on. 100,000 events in
`make test`, a million in `make soak`.
"""

import signal
from pathlib import Path

import orjson
import pytest

from connectors.log.port import Entry, TopicPartition
from connectors.log.settle import decode_mark, source_header
from sealwax.model import topics
from sealwax.model.delivery import Position
from tests.support.log_view import opened, partitions
from tests.support.platform import Platform, running_platform
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(900)]

_AT_ONCE = 5_000
_MOST = 10_000


def append_events(data_dir: Path, count: int) -> None:
    """Events of requests that render read, without rows, over all partitions."""
    with opened(data_dir) as log:
        events = partitions(log, topics.EVENTS)
        offsets = iter(range(1 << 40, (1 << 40) + count))
        for _ in range(count // _AT_ONCE):
            entries = []
            for i in range(_AT_ONCE):
                number = events[i % len(events)].partition
                source = Position(topics.REQUESTED[0], number, next(offsets))
                entries.append(Entry(number, b"k", b"", (("src", source_header(source, 0)),)))
            log.append_wait(topics.EVENTS, entries)


def behind(data_dir: Path) -> int:
    """How far the committed marks of dispatch stand behind the events, at most."""
    with opened(data_dir) as log:
        distances = []
        for tp in partitions(log, *topics.READY, *topics.RETRY):
            committed = log.committed("dispatch", tp)
            marked = decode_mark(committed.metadata)[0] if committed else 0
            distances.append(log.end_offset(TopicPartition(topics.EVENTS, tp.partition)) - marked)
    return max(distances)


def read_back(platform: Platform) -> list[int]:
    """How many records each start of dispatch read back."""
    lines = [
        orjson.loads(line)
        for line in platform.output.read_bytes().splitlines()
        if b"outputs read back" in line
    ]
    return [line["records"] for line in lines if line["flow"] == "dispatch"]


def restart_dispatch(platform: Platform) -> None:
    starts, before = len(read_back(platform)), platform.pid("dispatch")
    platform.signal("dispatch", signal.SIGKILL)
    wait_until(lambda: platform.pid("dispatch") != before, 30, "another dispatch")
    wait_until(lambda: len(read_back(platform)) > starts, 30, "its read-back")


def test_an_idle_partition_reads_few_of_a_million_events_of_others_back(tmp_path, soak):
    count = 1_000_000 if soak else 100_000
    with running_sink(tmp_path / "sink", "--reply", "RCPT=*@later.test:451 4.7.1 later") as sink:
        settings = {
            "SEALWAX_SMTP_ROUTES": f"*={sink.address}",
            "SEALWAX_RETRY_DELAYS": "1h",
            "SEALWAX_LOG_FORMAT": "json",
        }
        with running_platform(tmp_path / "data", settings) as platform:
            mail = {"from": "a@acme.test", "to": "ada@later.test", "subject": "Hi", "text": "Hello"}
            (held,) = platform.send([mail])
            platform.wait_for_step(held, "deferred")
            append_events(platform.data_dir, count)
            wait_until(lambda: behind(platform.data_dir) < _MOST, 30, "the marks to follow")
            restart_dispatch(platform)
            (sent,) = platform.send([{**mail, "to": "ada@now.test"}])
            platform.wait_for_step(sent, "delivered")
            records = read_back(platform)[-1]
            print(f"\n{count:,} events of others: {records:,} records read back by the start")
            assert records < _MOST
            assert sum(s["kind"] == "attempted" for s in platform.timeline(held)) == 1
