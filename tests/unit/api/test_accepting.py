"""What a 202 promises."""

import asyncio
import json
import shutil
import signal
from typing import Any

import httpx
import pytest

from sealwax.mail.grant import grant_holds
from sealwax.mail.submission import SubmissionLimits, read_submission
from sealwax.model.email_id import accepted_at_ms, is_email_id
from sealwax.model.topics import Stream
from sealwax.store.secrets import MasterKey
from tests.unit.api.conftest import EMAIL, Api, by_id


def test_an_accepted_email_is_in_the_log_with_its_headers_and_a_valid_grant(api: Api):
    response = api.send()
    assert response.status_code == 202
    ident = response.json()["id"]
    assert response.json() == {"id": ident}
    assert is_email_id(ident)
    record = by_id(api.records())[ident]
    assert record.topic == "email.requested.transactional"
    assert record.key == b"default"
    assert record.value is not None
    assert json.loads(record.value) == EMAIL
    headers = {name: value.decode() for name, value in record.headers}
    assert headers["tenant"] == "default"
    assert int(headers["accepted-at"]) == accepted_at_ms(ident)
    key = MasterKey.load(api.data_dir / "master.key").derive("grant")
    at_ms = int(headers["accepted-at"])
    assert grant_holds(key, ident, "default", at_ms, record.value, headers["grant"])
    assert not grant_holds(key, ident, "other", at_ms, record.value, headers["grant"])


def test_the_stream_decides_the_topic(api: Api):
    ident = api.send(stream="marketing").json()["id"]
    assert by_id(api.records())[ident].topic == "email.requested.marketing"


def test_the_value_is_what_was_sent_byte_for_byte(api: Api):
    body = json.dumps(EMAIL | {"subject": "Grüße 😀", "unknown": 1.50}, indent=1).encode()
    response = api.http.post(
        "/v1/emails", content=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert by_id(api.records())[response.json()["id"]].value == body


def test_a_body_in_chunks_is_read_to_its_end(api: Api):
    body = json.dumps(EMAIL | {"html": "x" * 900_000}).encode()
    chunks = (body[i : i + 70_000] for i in range(0, len(body), 70_000))
    response = api.http.post(
        "/v1/emails", content=chunks, headers={"Content-Type": "application/json"}
    )
    assert by_id(api.records())[response.json()["id"]].value == body


def test_a_template_is_pinned_to_the_version_of_its_accept(api: Api):
    api.store.put_template("default", "welcome", "Hi {{name}}", "<p>{{name}}</p>", None)
    second = api.store.put_template("default", "welcome", "Ho {{name}}", "<p>{{name}}</p>", None)
    response = api.send(subject=None, html=None, template={"id": "welcome"}, data={"name": "Ada"})
    assert response.status_code == 202, response.text
    value = by_id(api.records())[response.json()["id"]].value or b""
    submission = read_submission(
        value, stream_of_topic=Stream.TRANSACTIONAL, limits=SubmissionLimits(), now_ms=0
    )
    assert submission.template is not None
    assert submission.template.id == second.template_id
    assert submission.template.version == 2
    assert submission.data == {"name": "Ada"}


def test_a_template_without_its_variables_is_refused(api: Api):
    api.store.put_template("default", "bye", "Bye {{name}}", "<p>{{name}}</p>", None)
    response = api.send(subject=None, html=None, template={"id": "bye"})
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/missing-variable"
    assert "name" in response.json()["detail"]


def test_a_batch_answers_each_email_in_order_and_appends_the_good_ones(api: Api):
    before = len(api.records())
    bad: dict[str, Any] = {"to": 5}
    foreign = EMAIL | {"from": "hello@nobody.test"}
    marketing = EMAIL | {"stream": "marketing"}
    large = EMAIL | {"html": "x" * 1_000_000}
    emails = [EMAIL, bad, marketing, foreign, 7, large, EMAIL]
    response = api.http.post("/v1/emails/batch", json=emails)
    assert response.status_code == 202
    data = response.json()["data"]
    kinds = [item.get("error", {}).get("type") for item in data]
    assert kinds == [
        None,
        "/problems/invalid-field",
        None,
        "/problems/domain-not-usable",
        "/problems/invalid-field",
        "/problems/too-large",
        None,
    ]
    assert data[1]["error"]["errors"][0]["field"] == "to"
    found = by_id(api.records())
    assert len(found) == before + 3
    assert found[data[2]["id"]].topic == "email.requested.marketing"
    assert found[data[0]["id"]].offset < found[data[6]["id"]].offset


def test_a_thousand_emails_are_one_batch(api: Api):
    response = api.http.post("/v1/emails/batch", json=[EMAIL] * 1_000)
    ids = [item["id"] for item in response.json()["data"]]
    assert len(set(ids)) == 1_000
    assert set(ids) <= by_id(api.records()).keys()


def test_two_hundred_clients_at_once_are_all_accepted(api: Api):
    async def client(number: int) -> list[str]:
        async with httpx.AsyncClient(
            base_url=str(api.http.base_url), headers=api.http.headers, timeout=60, trust_env=False
        ) as http:
            emails = [EMAIL | {"subject": f"{number}/{i}"} for i in range(5)]
            answers = [await http.post("/v1/emails", json=email) for email in emails]
            assert {answer.status_code for answer in answers} == {202}
            return [answer.json()["id"] for answer in answers]

    async def all_clients() -> list[list[str]]:
        return await asyncio.gather(*(client(n) for n in range(200)))

    found = by_id(api.records())
    for number, ids in enumerate(asyncio.run(all_clients())):
        found = found if ids[0] in found else by_id(api.records())
        for i, ident in enumerate(ids):
            assert json.loads(found[ident].value or b"")["subject"] == f"{number}/{i}"


def test_a_domain_works_at_once_when_it_was_added(api: Api):
    assert api.send(**{"from": "a@late.test"}).status_code == 403
    api.store.add_domain("default", "late.test", trusted=True)
    assert api.send(**{"from": "a@late.test"}).status_code == 202


@pytest.mark.slow
def test_what_was_answered_before_a_kill_is_in_the_log(fresh: Api):
    ids = []
    for _ in range(5):
        ids.append(fresh.send().json()["id"])
        ids += [
            d["id"] for d in fresh.http.post("/v1/emails/batch", json=[EMAIL] * 20).json()["data"]
        ]
        fresh.process.send_signal(signal.SIGKILL)
        fresh.process.wait()
        assert set(ids) <= by_id(fresh.records()).keys()
        fresh.start()


def test_a_log_that_cannot_be_written_is_503(fresh: Api):
    shutil.rmtree(fresh.data_dir / "log" / "email.requested.marketing")
    response = fresh.send(stream="marketing")
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/log-away"
    assert int(response.headers["retry-after"]) > 0
    batch = [EMAIL, EMAIL | {"stream": "marketing"}]
    good, bad = fresh.http.post("/v1/emails/batch", json=batch).json()["data"]
    assert good["id"]
    assert bad["error"]["type"] == "/problems/log-away"


@pytest.mark.parametrize("fresh", [{"SEALWAX_MIN_FREE": "900000GB"}], indirect=True)
def test_a_full_disk_is_503_and_nothing_is_appended(fresh: Api):
    for response in (fresh.send(), fresh.http.post("/v1/emails/batch", json=[EMAIL])):
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/storage-full"
        assert int(response.headers["retry-after"]) > 0
    assert fresh.records() == []
