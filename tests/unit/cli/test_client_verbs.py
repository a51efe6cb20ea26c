"""send, trace, stats: what they make of answers, and of none."""

from typing import Any

import httpx

from sealwax.cli import client, trace


def test_without_a_key_it_says_where_one_comes_from(machine):
    refused = machine.run("stats")
    assert refused.returncode == 1
    assert "SEALWAX_API_KEY" in refused.stderr
    assert "sealwax up" in refused.stderr


def test_without_an_api_it_says_how_to_start_it(machine):
    refused = machine.run("trace", "x", SEALWAX_API_KEY="sw_a_b")
    assert refused.returncode == 1
    assert f"nothing answers at http://127.0.0.1:{machine.port}" in refused.stderr


def test_data_that_is_no_object_is_refused_before_anything_is_sent(machine):
    refused = machine.run(
        *("send", "--from", "a@acme.test", "--to", "b@example.test", "--data", "[1]"),
        SEALWAX_API_KEY="sw_a_b",
    )
    assert refused.returncode == 1
    assert "--data must be a JSON object" in refused.stderr


def test_a_problem_is_told_with_its_field_and_its_fix():
    problem = {"title": "Unprocessable", "field": "to[1]", "detail": "No domain.", "fix": "Add one"}
    assert client._sentences(httpx.Response(422, json=problem)) == "to[1]: No domain. Add one"


def test_several_problems_are_told_one_a_line():
    problem = {"errors": [{"field": "to", "detail": "a"}, {"field": "from", "detail": "b"}]}
    assert client._sentences(httpx.Response(422, json=problem)) == "to: a\nfrom: b"


def test_an_answer_that_is_no_problem_is_told_by_its_status():
    assert "502" in client._sentences(httpx.Response(502, text="<html>"))


STEPS: list[dict[str, Any]] = [
    {"at": "2026-11-24T08:00:00.000Z", "kind": "accepted", "recipient": ""},
    {
        "at": "2026-11-24T08:00:00.250Z",
        "kind": "waited",
        "recipient": "a@x.test",
        "cause": "rate",
        "rule": "site x.test",
        "ms": 250,
    },
    {
        "at": "2026-11-24T08:01:30.250Z",
        "kind": "delivered",
        "recipient": "a@x.test",
        "command": "DOT",
        "code": 250,
        "status": "2.0.0",
        "reply": "queued",
        "mx_host": "mx.x.test",
    },
]


def test_a_trace_shows_each_step_with_its_time_and_the_time_since_the_last():
    accepted, waited, delivered = trace._rows(STEPS)
    assert accepted == ("2026-11-24 08:00:00.000", "", "accepted", "", "")
    assert waited[1:] == ("+250 ms", "waited", "a@x.test", "rate (site x.test), 250 ms")
    assert delivered[1] == "+1 m 30 s"
    assert delivered[4] == "at mx.x.test, DOT: 250 2.0.0 queued"


def test_a_trace_is_final_when_every_recipient_has_its_verdict():
    assert trace._is_final(STEPS)
    other = {"at": "2026-11-24T08:00:00.000Z", "kind": "rendered", "recipient": "b@x.test"}
    assert not trace._is_final([*STEPS, other])
    assert not trace._is_final([])
    assert trace._is_final([STEPS[0], {"at": other["at"], "kind": "rejected", "recipient": None}])
