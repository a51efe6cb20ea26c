"""The way of one email, from its rows."""

from sealwax.model.email_id import email_id
from sealwax.model.timeline import accepted, timeline, unaccounted_ms

# 2026-11-24T08:00:00.000Z
ACCEPTED_MS = 1_795_507_200_000
ID = email_id(ACCEPTED_MS, bytes(10))


def row(kind, at, **columns):
    """A row as ClickHouse gives it: columns that say nothing hold their default."""
    waits = columns.pop("waits", [])
    return {
        "email_id": ID,
        "kind": kind,
        "at": f"2026-11-24T{at}Z",
        "rcpt": "ada@b.test",
        "rcpt_index": 0,
        "rcpts": 0,
        "smtp_ms": 0,
        "elapsed_ms": 0,
        "waits.cause": [cause for cause, _, _ in waits],
        "waits.rule": [rule for _, rule, _ in waits],
        "waits.ms": [ms for _, _, ms in waits],
        **columns,
    }


RENDERED = row("rendered", "08:00:00.012", elapsed_ms=12, rcpts=1, waits=[("queue", "", 12)])
DEFERRED = row(
    "deferred",
    "08:00:00.100",
    elapsed_ms=100,
    smtp_ms=58,
    attempt=1,
    site="b.test",
    mx_host="mx.b.test",
    code=451,
    status="4.7.1",
    reply="later",
    waits=[("queue", "", 10), ("rate", "b.test", 20)],
)
DELIVERED = row(
    "delivered",
    "08:01:00.130",
    elapsed_ms=60_130,
    smtp_ms=30,
    attempt=2,
    code=250,
    waits=[("retry", "", 60_000)],
)


def test_every_step_of_an_email_has_its_time_and_who_says_so():
    steps = timeline([RENDERED, DEFERRED, DELIVERED])
    assert [(s["at"][11:23], s["kind"], s["source"]) for s in steps] == [
        ("08:00:00.000", "accepted", "accept"),
        ("08:00:00.000", "waited", "render"),
        ("08:00:00.012", "rendered", "render"),
        ("08:00:00.012", "waited", "dispatch"),
        ("08:00:00.022", "waited", "dispatch"),
        ("08:00:00.042", "attempted", "dispatch"),
        ("08:00:00.100", "deferred", "dispatch"),
        ("08:00:00.100", "waited", "dispatch"),
        ("08:01:00.100", "attempted", "dispatch"),
        ("08:01:00.130", "delivered", "dispatch"),
    ]


def test_a_verdict_says_what_the_server_said_and_a_wait_says_why():
    steps = timeline([DEFERRED])
    verdict = steps[-1]
    assert (verdict["code"], verdict["status"], verdict["reply"]) == (451, "4.7.1", "later")
    assert verdict["mx_host"] == "mx.b.test"
    assert "detail" not in verdict
    waits = [s for s in steps if s["kind"] == "waited"]
    assert [(w["cause"], w.get("rule"), w["ms"]) for w in waits] == [
        ("queue", None, 10),
        ("rate", "b.test", 20),
    ]
    attempted = next(s for s in steps if s["kind"] == "attempted")
    assert attempted["attempt"] == 1
    assert "code" not in attempted


def test_a_parking_is_its_wait_and_says_until_when_it_is_planned():
    parked = row("waited", "08:00:05.000", detail="planned until 9", waits=[("rate", "b", 5_000)])
    assert [(s["kind"], s.get("ms"), s.get("detail")) for s in timeline([parked])] == [
        ("accepted", None, None),
        ("waited", 5_000, "planned until 9"),
    ]


def test_a_parking_that_waited_for_nothing_yet_is_a_step_too():
    parked = row("waited", "08:00:00.000", detail="planned until 9")
    assert [(s["kind"], s.get("detail")) for s in timeline([parked])][1:] == [
        ("waited", "planned until 9")
    ]


def test_an_email_is_accepted_once_whatever_the_number_of_its_recipients():
    other = {**RENDERED, "rcpt": "bob@b.test", "rcpt_index": 1}
    steps = timeline([RENDERED, other])
    assert [s["kind"] for s in steps].count("accepted") == 1
    assert {s["recipient"] for s in steps} == {None, "ada@b.test", "bob@b.test"}


def test_accept_is_the_first_step_whichever_row_is_there_first():
    assert timeline([DELIVERED])[0] == accepted(ACCEPTED_MS)


def test_a_rejected_request_was_accepted_when_its_id_says():
    rejected = row("rejected", "09:00:00.000", rcpt="", detail="no such template")
    steps = timeline([rejected])
    assert [(s["at"], s["kind"], s["recipient"], s["source"]) for s in steps] == [
        ("2026-11-24T08:00:00.000Z", "accepted", None, "accept"),
        ("2026-11-24T09:00:00.000Z", "rejected", None, "render"),
    ]
    assert steps[-1]["detail"] == "no such template"


def test_steps_of_one_millisecond_stay_in_the_order_in_which_they_were_made():
    at_once = row("delivered", "08:00:00.012", elapsed_ms=12)
    kinds = [s["kind"] for s in timeline([RENDERED, at_once])]
    assert kinds == ["accepted", "waited", "rendered", "attempted", "delivered"]


def test_no_rows_are_no_steps():
    assert timeline([]) == []


def test_waits_and_attempts_account_for_all_the_time_of_an_email():
    assert unaccounted_ms([RENDERED, DEFERRED, DELIVERED], 0) == 0


def test_time_that_no_row_explains_is_unaccounted():
    late = {**DELIVERED, "elapsed_ms": 60_630}
    assert unaccounted_ms([RENDERED, DEFERRED, late], 0) == 500


def test_a_request_that_came_twice_is_a_step_of_the_email_that_was_sent():
    detail = "the same request came again at email.requested.transactional/0/8"
    again = row("deduplicated", "08:00:00.020", rcpt="", detail=detail)
    step = timeline([RENDERED, again])[-1]
    assert (step["kind"], step["source"], step["recipient"]) == ("deduplicated", "render", None)
    assert step["detail"] == detail
