"""Events into ClickHouse exactly once: over kills, torn inserts, bad lines and failures (R10)."""

import random
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.log.dead import dead_entry
from connectors.log.port import Entry, Record
from connectors.records import encode_deliveries, iso
from sealwax import clock
from sealwax.model.delivery import Delivery, Position
from sealwax.model.email_id import email_id
from sealwax.model.topics import DEAD, EVENTS, RETRY
from tests.support.analytics_process import PARTITIONS, ROOT, command, open_test_log, said

_KINDS = ("rendered", "deferred", "delivered", "bounced", "opened")
_HOUR_MS = 3_600_000
_ROUNDS = 7


def event(number: int, **columns) -> bytes:
    """A row of its own, in one of 400 hours, so that inserts touch several weekly partitions."""
    at_ms = clock.now_ms() - number % 400 * _HOUR_MS
    row = {
        "tenant": "t",
        "email_id": email_id(at_ms, random.Random(number).randbytes(10)),
        "at": iso(at_ms),
        "kind": _KINDS[number % len(_KINDS)],
        "rcpt": f"ünï{number}@b.test",
        "waits.cause": ["queue"],
        "waits.rule": [""],
        "waits.ms": [number],
    }
    return orjson.dumps({**row, **columns})


def retry_value(row: bytes) -> bytes:
    delivery = Delivery(
        email_id=email_id(clock.now_ms(), bytes(10)),
        rcpt_index=0,
        tenant_id="t",
        stream="transactional",
        reverse_path="bounces@a.test",
        rcpt="ada@b.test",
        rcpt_domain="b.test",
        accepted_at_ms=0,
        give_up_at_ms=1,
        attempt=1,
        due_ms=0,
        not_before_ms=0,
        source_ip="",
        dkim_domain="a.test",
        template="",
        tags=(),
        request=Position("email.requested.transactional", 0, 0),
        since_ms=0,
        waits=(),
        message=b"x",
    )
    return encode_deliveries([(delivery, row)])[0]


def fill(directory: Path, values: dict[str, list[bytes]]) -> list[list[Any]]:
    """Appends values to a topic's partitions in turn; the places of those that hold a row."""
    log = open_test_log(directory)
    places = []
    for topic, of_topic in values.items():
        entries = [Entry(i % PARTITIONS, None, value) for i, value in enumerate(of_topic)]
        offsets = log.append_wait(topic, entries)
        places += [[topic, e.partition, at] for e, at in zip(entries, offsets, strict=True)]
    log.close()
    return sorted(places)


def assert_roll_up_agrees(report: dict[str, Any]) -> None:
    assert report["roll_up"] == report["base"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_row_of_events_and_delay_topics_is_stored_once_and_empty_ones_are_none(
    tmp_path, workers
):
    rows = [event(n) for n in range(5_000)]
    retries = [retry_value(event(n, kind="deferred")) for n in range(100)]
    places = fill(tmp_path, {EVENTS: rows, RETRY[0]: retries})
    fill(tmp_path, {RETRY[0]: [retry_value(b"")] * 10})
    report = said("consume", tmp_path, workers)
    assert report["places"] == places
    assert report["dead"] == []
    assert_roll_up_agrees(report)


@pytest.mark.parametrize("dies_after_s", ["-1", "0.001"])
def test_what_was_put_aside_before_a_kill_is_not_put_aside_again(tmp_path, dies_after_s):
    bad = [b"not json", event(1, kind="no such kind"), event(2, email_id="no id")]
    places = fill(tmp_path, {EVENTS: [*bad, *(event(n) for n in range(3, 100))]})
    for _ in range(2):
        died = subprocess.run(command("consume", tmp_path, "1", dies_after_s), cwd=ROOT)
        assert died.returncode < 0
    report = said("consume", tmp_path, "1")
    assert sorted(report["dead"]) == ["not_a_row", "row_refused", "row_refused"]
    assert len(report["places"]) == len(places) - len(bad)
    assert_roll_up_agrees(report)


def test_the_row_of_a_message_that_was_put_aside_is_stored_and_other_dead_records_have_none(
    tmp_path,
):
    log = open_test_log(tmp_path)
    read = Record("email.ready.transactional", 0, 7, b"k", b"no delivery", (), 0)
    failed = event(1, kind="failed")
    made = [
        dead_entry(read, "bad", "it is bad", flow="dispatch", row=row)
        for row in (failed, b"", b"{")
    ]
    log.append_wait(DEAD, made)
    log.close()
    report = said("consume", tmp_path, "1")
    assert report["places"] == [[DEAD, 0, 0]]
    assert report["dead"] == ["bad", "bad", "bad", "not_a_row"]
    assert_roll_up_agrees(report)


def test_a_line_that_clickhouse_refuses_goes_to_the_dead_and_takes_no_other_with_it(tmp_path):
    bad = [
        b"not json",
        b"{}",
        b"[1]",
        b'{"at":\n"2026-11-24T00:00:00Z"}',
        b'{"rcpt":"\xff"}',
        b'{"tenant":"a row without a time"}',
        event(1, kind="no such kind"),
        event(1, at="9999-01-01T00:00:00Z"),
        event(1, email_id="not an id"),
        event(1, email_id=""),
        event(1, attempt="x"),
        event(1, attempt=-1),
        event(1, alert="perhaps"),
        event(1, tags=["no", "object"]),
        event(1, **{"waits.ms": []}),
        event(1)[:-1] + b',"tenant":"twice"}',
        event(1) + event(2),
        event(1)[:-1] + b',"x":' + b"[" * 3000 + b"]" * 3000 + b"}",
        event(1, detail="ü" * 300)[:-40].replace(b"detail", b"rcpts") + b"}",
    ]
    good = [event(n) for n in range(200)]
    values = good[:100] + bad + good[100:]
    places = fill(tmp_path, {EVENTS: values})
    unreadable = fill(tmp_path, {RETRY[0]: [b"no delivery"]})
    report = said("consume", tmp_path, "1")
    broken = {tuple(place) for place, value in in_order(values) if value in bad}
    assert {tuple(p) for p in report["places"]} == {tuple(p) for p in places} - broken
    assert len(report["dead"]) == len(bad) + len(unreadable)
    assert set(report["dead"]) == {"not_a_row", "row_refused", "unreadable"}
    assert_roll_up_agrees(report)
    assert said("consume", tmp_path, "1") == report, "a second start buries nothing again"


def test_an_insert_may_hold_rows_of_any_number_of_weeks(tmp_path):
    now_ms = clock.now_ms()
    rows = [event(n, at=iso(now_ms + n * 168 * _HOUR_MS)) for n in range(250)]
    places = fill(tmp_path, {EVENTS: rows})
    report = said("consume", tmp_path, "1")
    assert report["places"] == places
    assert_roll_up_agrees(report)


def in_order(values: list[bytes]) -> list[tuple[list[Any], bytes]]:
    return [([EVENTS, i % PARTITIONS, i // PARTITIONS], value) for i, value in enumerate(values)]


def test_an_insert_that_a_crash_tore_is_made_whole_and_only_once(tmp_path):
    places = fill(tmp_path, {EVENTS: [event(n) for n in range(2_000)]})
    report = said("tear_and_repair", tmp_path)
    assert report["places"] == [place for place in places if place[1] == 0]
    assert report["positions"] == [report["end"]] * 2
    assert_roll_up_agrees(report)


def test_a_rebuild_puts_the_rows_of_the_log_in_place_of_what_there_is(tmp_path):
    places = fill(tmp_path, {EVENTS: [event(n) for n in range(3_000)]})
    said("consume", tmp_path, "1")
    report = said("rebuild_twice", tmp_path, "0")
    assert report["places"] == places
    assert report["total"] * 2 == report["steps"] == 6_000
    assert report["lag"] == 0
    assert report["dead"] == []
    assert_roll_up_agrees(report)


def test_a_rebuild_since_a_time_leaves_older_rows_alone(tmp_path):
    fill(tmp_path, {EVENTS: [event(n) for n in range(100)]})
    said("consume", tmp_path, "1")
    report = said("rebuild_twice", tmp_path, str(clock.now_ms() + _HOUR_MS))
    assert report["total"] == 0
    assert 60 < len(report["places"]) < 80, "what was lost stays lost"


def test_a_rebuild_to_an_empty_directory_stores_all_there_is(tmp_path):
    places = fill(tmp_path, {EVENTS: [event(n) for n in range(500)]})
    said("consume", tmp_path, "1")
    shutil.rmtree(tmp_path / "clickhouse")
    report = said("rebuild_twice", tmp_path, "0")
    assert report["places"] == places
    assert_roll_up_agrees(report)


@pytest.mark.parametrize("dies_after_s", ["0.001", "0.02", "0.1"])
def test_a_rebuild_that_is_killed_is_ended_by_the_flow(tmp_path, dies_after_s):
    places = fill(tmp_path, {EVENTS: [event(n) for n in range(3_000)]})
    said("consume", tmp_path, "1")
    killed = subprocess.run(
        command("die_in_a_rebuild", tmp_path, dies_after_s),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode in (0, -signal.SIGALRM)
    report = said("consume", tmp_path, "1")
    assert report["places"] == places
    assert_roll_up_agrees(report)


def test_rows_of_an_insert_that_failed_are_not_inserted_once_more_by_the_close(tmp_path):
    fill(tmp_path, {EVENTS: [event(n) for n in range(20)]})
    report = said("fail_once", tmp_path)
    assert len(report["places"]) == report["records"]


def test_a_range_is_uncertain_until_the_next_one_or_until_a_quiet_moment(tmp_path):
    fill(tmp_path, {EVENTS: [event(n) for n in range(20)]})
    assert said("store_and_rest", tmp_path) == {"busy": 10, "at_rest": 0}


@pytest.mark.slow
def test_rows_and_roll_up_are_exact_after_kills_at_any_moment(tmp_path):
    draw = random.Random(4)
    places: list[list[Any]] = []
    for kills in range(_ROUNDS):
        numbers = range(kills * 4_000, (kills + 1) * 4_000)
        places += fill(tmp_path, {EVENTS: [event(n) for n in numbers]})
        dies_after_s = f"{draw.uniform(0.001, 0.12):.3f}"
        child = subprocess.run(
            command("consume", tmp_path, "1", dies_after_s),
            cwd=ROOT,
            capture_output=True,
            timeout=60,
        )
        assert child.returncode == -signal.SIGALRM, child.stderr[-2000:]
    report = said("consume", tmp_path, "1")
    counted = Counter(map(tuple, report["places"]))
    assert max(counted.values()) == 1
    assert set(counted) == set(map(tuple, places))
    assert report["dead"] == []
    assert_roll_up_agrees(report)
