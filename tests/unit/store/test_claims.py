"""Claims in a real database, written by threads and by processes."""

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from sealwax import clock
from sealwax.model.claim import email_claim, is_idempotency_key, key_claim
from sealwax.model.delivery import Position
from sealwax.policy.idempotency import (
    Adopt,
    Answered,
    Append,
    Concurrent,
    Duplicate,
    Finish,
    GiveUp,
    OtherPayload,
    Render,
    Take,
    TakeForRecord,
    Unclaimed,
)
from sealwax.store.relational import open_store

ROOT = Path(__file__).parents[3]
DAY_MS = 86_400_000
ONE, TWO = b"1" * 32, b"2" * 32
KEY = key_claim("default", "order 17")
FIRST, SECOND = Position("email.requested.marketing", 0, 7), Position("t", 3, 9)


@pytest.fixture
def store(settings):
    store = open_store(settings)
    yield store
    store.close()


def take(name=KEY, payload=ONE, ids=("a", "b"), keep_ms=DAY_MS) -> Take:
    return Take(name, payload, ids, keep_ms)


def for_record(source, *, name=KEY, payload=ONE, email_id="r", stamp_ms=None) -> TakeForRecord:
    stamp_ms = clock.now_ms() if stamp_ms is None else stamp_ms
    return TakeForRecord(name, payload, email_id, source, stamp_ms, DAY_MS)


def test_the_first_appends_and_who_repeats_it_meanwhile_is_told_so(store):
    assert store.write_claims([take()]) == [Append(("a", "b"))]
    assert store.write_claims([take(ids=("c", "d"))]) == [Concurrent()]
    assert store.look_at_claim(KEY, ONE) == Concurrent()


def test_what_was_answered_once_is_answered_again_also_by_another_process(store, settings):
    store.write_claims([take(), Finish(KEY, ("a", "b"), b'{"data":[]}')])
    other = open_store(settings)
    assert other.write_claims([take(ids=("c", "d"))]) == [Answered(("a", "b"), b'{"data":[]}')]
    assert other.look_at_claim(KEY, ONE) == Answered(("a", "b"), b'{"data":[]}')
    other.close()


@pytest.mark.parametrize("done", [False, True])
def test_another_payload_under_the_key_is_refused(store, done):
    store.write_claims([take(), *([Finish(KEY, ("a", "b"), None)] if done else [])])
    assert store.write_claims([take(payload=TWO)]) == [OtherPayload()]
    assert store.look_at_claim(KEY, TWO) == OtherPayload()


def test_the_same_key_of_another_tenant_is_another_claim(store):
    store.write_claims([take()])
    assert store.write_claims([take(name=key_claim("other", "order 17"))]) == [Append(("a", "b"))]


def test_an_append_that_failed_is_repeated_at_once_with_the_ids_it_had(store):
    store.write_claims([take(), GiveUp(KEY, ("a", "b"))])
    assert store.look_at_claim(KEY, ONE) == Unclaimed()
    assert store.write_claims([take(ids=("c", "d"))]) == [Append(("a", "b"))]
    assert store.write_claims([take()]) == [Concurrent()]


def test_an_expired_claim_is_taken_anew_and_its_old_owner_can_change_it_no_more(store):
    store.write_claims([take(keep_ms=0)])
    assert store.write_claims([take(payload=TWO, ids=("c",))]) == [Append(("c",))]
    store.write_claims([Finish(KEY, ("a", "b"), b"old"), GiveUp(KEY, ("a", "b"))])
    assert store.write_claims([take(payload=TWO)]) == [Concurrent()]


def test_a_record_finds_its_own_claim_again_and_no_other_does(store):
    name = email_claim("r")
    first, second = (for_record(source, name=name, payload=b"") for source in (FIRST, SECOND))
    expected = [Render("r"), Duplicate(FIRST, "r"), Render("r")]
    assert store.claim_for_records([first, second, first]) == expected
    assert store.claim_for_records([second, first]) == expected[1:]


def test_a_producer_and_the_api_share_the_keys_of_a_tenant(store):
    assert store.claim_for_records([for_record(FIRST)]) == [Render("r")]
    assert store.write_claims([take()]) == [Answered(("r",), None)]
    assert store.write_claims([take(payload=TWO)]) == [OtherPayload()]
    assert store.claim_for_records([for_record(SECOND, payload=TWO)]) == [OtherPayload()]
    name = key_claim("default", "other")
    store.write_claims([take(name=name, ids=("x",))])
    assert store.claim_for_records([for_record(FIRST, name=name)]) == [Adopt("x")]


def test_a_record_of_a_later_day_may_use_the_key_again(store):
    old, new = for_record(FIRST, stamp_ms=1_000), for_record(SECOND, stamp_ms=1_000 + DAY_MS)
    assert store.claim_for_records([old, new]) == [Render("r"), Render("r")]
    # The old one was not settled yet, and comes again: it is no duplicate of the new one.
    assert store.claim_for_records([old]) == [Render("r")]
    between = for_record(FIRST._replace(offset=8), stamp_ms=2_000)
    assert store.claim_for_records([between]) == [Duplicate(SECOND, "r")]


def test_expired_claims_are_deleted_oldest_first_and_not_more_than_asked(store):
    names = [key_claim("default", str(n)) for n in range(5)]
    store.claim_for_records(
        [for_record(FIRST, name=name, stamp_ms=n) for n, name in enumerate(names)]
    )
    assert store.delete_claims(DAY_MS, 10) == 0
    assert store.delete_claims(DAY_MS + 4, 3) == 3
    assert store.delete_claims(DAY_MS + 4, 3) == 1
    left = [store.look_at_claim(name, ONE) for name in names]
    assert left == [Unclaimed()] * 5  # of which the last is expired and not yet deleted
    assert store.delete_claims(DAY_MS + 5, 3) == 1


@pytest.mark.parametrize(
    ("key", "good"),
    [
        (b"a", True), (b"order 17/~", True), (b"x" * 256, True),
        (b"", False), (b"x" * 257, False), (b"a\n", False), ("ä".encode(), False), (b"\x7f", False),
    ],
)  # fmt: skip
def test_a_key_is_1_to_256_printable_ascii_characters(key, good):
    assert is_idempotency_key(key) is good


CLAIM = """
import sys
from pathlib import Path
from tests.unit.store.test_claims import FIRST, KEY, for_record, take
from sealwax.store.relational import RelationalSettings, open_store
store = open_store(RelationalSettings(sys.argv[1], Path(sys.argv[2])))
print("ready", flush=True)
sys.stdin.readline()
me = sys.argv[3]
for n in range(50):
    (fate,) = store.claim_for_records([for_record(FIRST._replace(offset=int(me)), name=f"id:{n}")])
    (taken,) = store.write_claims([take(name=f"idem:{n}", ids=(me,))])
    print(type(fate).__name__, type(taken).__name__, flush=True)
"""


def test_of_processes_that_claim_the_same_at_once_one_gets_each(store, settings):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, settings.url, settings.master_key_file, str(n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for n in range(3)
    ]  # fmt: skip
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    said = Counter(
        word for process in started for word in process.communicate(timeout=60)[0].split()
    )
    assert said == {"Render": 50, "Duplicate": 100, "Append": 50, "Concurrent": 100}


def test_of_threads_that_claim_the_same_at_once_one_gets_it(store):
    answers: list[object] = []
    start = threading.Barrier(8)

    def claim(n: int) -> None:
        start.wait()
        answers.extend(store.write_claims([take(ids=(str(n),))]))

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(type(answer) for answer in answers) == {Append: 1, Concurrent: 7}
