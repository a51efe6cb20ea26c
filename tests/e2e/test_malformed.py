"""Malformed requests of producers among good ones: each is put aside, nothing stops, all is sent.

`make soak` makes it 10,000, with values of 80 MB.
"""

from collections import Counter
from zlib import crc32

import pytest

from connectors.log import LogSettings, open_log
from connectors.log.dead import Dead, read_dead
from connectors.log.port import Entry, Log, TopicPartition
from sealwax.model import topics
from sealwax.store.processes import NAMES
from tests.support.malformed import corpus, drawn
from tests.support.platform import running_platform
from tests.support.requested import append_requests, granted
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

GOOD = 60
TIMEOUT_S = 1_800
TOPIC = topics.REQUESTED[0]

pytestmark = [pytest.mark.e2e, pytest.mark.proof, pytest.mark.timeout(2 * TIMEOUT_S)]


def dead_records(log: Log) -> list[Dead]:
    return [
        read_dead(record)
        for n in range(log.partitions(topics.DEAD))
        for tp in [TopicPartition(topics.DEAD, n)]
        for record in log.scan(tp, 0, log.end_offset(tp))
    ]


def count_dead(log: Log) -> int:
    partitions = range(log.partitions(topics.DEAD))
    return sum(log.end_offset(TopicPartition(topics.DEAD, n)) for n in partitions)


def test_every_malformed_request_is_put_aside_and_every_good_one_delivered_once(tmp_path, soak):
    malformed = 10_000 if soak else 300
    fixed = corpus((80 if soak else 3) << 20)
    bad = [*fixed, *drawn(malformed - len(fixed))]
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data", {"SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}"}
        ) as platform,
    ):
        pids = {name: platform.pid(name) for name in NAMES}
        headers = granted(platform.data_dir)
        log = open_log(LogSettings(platform.data_dir / "log"))
        ids: list[str] = []
        where: dict[tuple[str, int, int], bytes | None] = {}
        for n, value in enumerate(bad):
            if n % max(1, malformed // GOOD) == 0 and len(ids) < GOOD:
                ids += append_requests(platform.data_dir, 1)
            # Three in four with a valid grant, so that they come as far as being read.
            proof = headers(value or b"") if n % 4 else ()
            entry = Entry(crc32(b"%d" % n) % log.partitions(TOPIC), b"k", value, proof)
            (offset,) = log.append_wait(TOPIC, [entry])
            where[TOPIC, entry.partition, offset] = value
        wait_until(lambda: count_dead(log) >= len(bad), TIMEOUT_S, "all malformed ones put aside")
        wait_until(lambda: len(sink.index()) >= len(ids), TIMEOUT_S, "all good ones delivered")
        wait_until(
            lambda: platform.stats().get("delivered", 0) >= len(ids), 30, "all rows in ClickHouse"
        )
        dead = dead_records(log)
        reasons = Counter(each.reason for each in dead)
        received = Counter(entry["id"] for entry in sink.index())
        print(
            f"\n{len(bad)} malformed: {len(dead)} in email.dead {dict(reasons)}; "
            f"{len(ids)} good: {sum(received.values())} received"
        )
        assert {each.source: each.value(log) for each in dead} == where
        assert len(dead) == len(bad)
        assert all(each.reason and each.detail for each in dead)
        assert received == Counter(ids)
        assert {name: platform.pid(name) for name in NAMES} == pids, "nothing was restarted"
        # What only lacked its domain goes out once the domain is there.
        (homeless,) = [each for each in dead if each.reason == "domain_not_usable"]
        platform.command("domains", "add", "other.test", "--trusted")
        dead_id = f"{homeless.at.partition}/{homeless.at.offset}"

        def goes_out() -> bool:
            """Render sees a new domain within five seconds, and puts it aside again before."""
            before = count_dead(log)
            platform.command("dead", "replay", dead_id, "--again")
            return wait_until(
                lambda: len(sink.index()) > len(ids) or count_dead(log) > before, 30, "its outcome"
            ) and len(sink.index()) > len(ids)

        wait_until(goes_out, 30, "the replayed record to be delivered")
        (sent,) = sink.index()[len(ids) :]
        assert sent["id"] == dict(homeless.headers)["email-id"].decode()
        assert "replayed as" in platform.command("dead", "show", dead_id)
        log.close()
