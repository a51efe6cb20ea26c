"""Requests with an Idempotency-Key: accepted once, however often and whenever they are sent."""

import asyncio
import hashlib
import json
import socket
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwax.clock import TEST_CLOCK_FILE
from sealwax.model.claim import key_claim
from sealwax.model.delivery import Position
from sealwax.policy.idempotency import Take, TakeForRecord
from tests.support.waiting import wait_until
from tests.unit.api.conftest import EMAIL, Api

DAY_MS = 86_400_000
OTHER = EMAIL | {"subject": "Other"}


def post(api: Api, key: str, body: Any = EMAIL, path: str = "/v1/emails") -> httpx.Response:
    return api.http.post(path, json=body, headers={"Idempotency-Key": key})


def ids_in_log(api: Api) -> Counter[str]:
    return Counter(dict(record.headers)["email-id"].decode() for record in api.records())


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("/problems/")


class Moved(Api):
    """An API whose clock a test can move."""

    def __init__(self, folder: Path) -> None:
        self._clock = folder / "clock"
        super().__init__(folder, {TEST_CLOCK_FILE: str(self._clock)})

    def move(self, seconds: float) -> None:
        """Moves it; the API reads it again after 50 ms."""
        self._clock.write_text(str(seconds))


@pytest.fixture
def moved(tmp_path: Path):
    made = Moved(tmp_path)
    yield made
    made.close()


def test_a_repeat_gets_the_first_answer_and_appends_nothing(api: Api):
    first = post(api, "once")
    assert first.status_code == 202
    for _ in range(3):
        again = post(api, "once")
        assert (again.status_code, again.content) == (202, first.content)
        assert again.headers["content-type"] == first.headers["content-type"]
    assert ids_in_log(api)[first.json()["id"]] == 1


def test_a_keyed_request_is_marked_repeatable_and_another_is_not(api: Api):
    keyed, plain = post(api, "marked").json()["id"], api.send().json()["id"]
    headers = {dict(r.headers)["email-id"].decode(): dict(r.headers) for r in api.records()}
    assert headers[keyed]["repeatable"] == b"1"
    assert headers[plain].keys() == {"email-id", "tenant", "accepted-at", "grant"}


def test_another_payload_under_the_key_is_409(api: Api):
    assert post(api, "one payload").status_code == 202
    for path, body in (("/v1/emails", OTHER), ("/v1/emails/batch", [EMAIL])):
        assert problem(post(api, "one payload", body, path)) == (409, "invalid-idempotent-request")


def test_the_keys_of_two_tenants_are_apart(api: Api):
    api.store.create_tenant("other", "Other")
    api.store.add_domain("other", "other.test", trusted=True)
    first = post(api, "shared")
    with api.client(api.store.create_key("other", "k").key) as client:
        answer = client.post(
            "/v1/emails",
            json=EMAIL | {"from": "a@other.test"},
            headers={"Idempotency-Key": "shared"},
        )
    assert (first.status_code, answer.status_code) == (202, 202)


@pytest.mark.parametrize("key", ["", "x" * 257, b"\xc3\xa4", b"a\tb"])
def test_a_key_that_cannot_be_one_is_400_and_says_what_one_is(api: Api, key):
    answer = api.http.post("/v1/emails", json=EMAIL, headers={"Idempotency-Key": key})
    assert problem(answer) == (400, "invalid-idempotency-key")
    assert "256" in answer.json()["detail"]


def test_a_refused_request_may_be_mended_and_sent_under_its_key(api: Api):
    assert post(api, "mended", EMAIL | {"to": 5}).status_code == 422
    assert post(api, "mended", {"broken": True}).status_code == 422
    assert post(api, "mended").status_code == 202


def test_a_batch_is_answered_again_with_its_ids_and_its_errors(api: Api):
    batch = [EMAIL, {"to": 5}, OTHER | {"stream": "marketing"}]
    first = post(api, "batch", batch, "/v1/emails/batch")
    assert first.status_code == 202
    assert [*first.json()["data"][0], *first.json()["data"][1]] == ["id", "error"]
    again = post(api, "batch", batch, "/v1/emails/batch")
    assert (again.status_code, again.content) == (202, first.content)
    found = ids_in_log(api)
    assert [found[item["id"]] for item in first.json()["data"] if "id" in item] == [1, 1]


def test_a_batch_without_any_good_email_claims_nothing(api: Api):
    refused = post(api, "all bad", [{"to": 5}], "/v1/emails/batch")
    assert refused.status_code == 202
    assert "error" in refused.json()["data"][0]
    assert post(api, "all bad").status_code == 202


def test_of_many_clients_at_once_one_appends_and_all_get_its_answer_in_the_end(api: Api):
    async def client(http: httpx.AsyncClient, seen: Counter[int]) -> bytes:
        while True:
            answer = await http.post(
                "/v1/emails", json=EMAIL, headers={"Idempotency-Key": "crowded"}
            )
            seen[answer.status_code] += 1
            if answer.status_code == 202:
                return answer.content
            assert problem(answer) == (409, "concurrent-idempotent-requests")
            assert answer.headers["retry-after"] == "1"

    async def clients() -> tuple[list[bytes], Counter[int]]:
        seen: Counter[int] = Counter()
        async with httpx.AsyncClient(
            base_url=api.http.base_url, headers={"Authorization": f"Bearer {api.key}"}, timeout=20
        ) as http:
            return await asyncio.gather(*(client(http, seen) for _ in range(40))), seen

    answers, seen = asyncio.run(clients())
    assert len(set(answers)) == 1
    assert seen[202] == 40
    assert ids_in_log(api)[json.loads(answers[0])["id"]] == 1


def test_many_keys_at_once_are_each_accepted_once(api: Api):
    async def clients() -> list[str]:
        async with httpx.AsyncClient(
            base_url=api.http.base_url, headers={"Authorization": f"Bearer {api.key}"}, timeout=20
        ) as http:
            answers = await asyncio.gather(
                *(
                    http.post("/v1/emails", json=EMAIL, headers={"Idempotency-Key": f"many {n}"})
                    for n in range(300)
                )
            )
        return [answer.json()["id"] for answer in answers]

    ids = asyncio.run(clients())
    assert len(set(ids)) == 300
    found = ids_in_log(api)
    assert all(found[ident] == 1 for ident in ids)


def test_a_client_that_goes_away_finds_its_answer_when_it_comes_back(api: Api):
    body = json.dumps(EMAIL).encode()
    lines = [
        "POST /v1/emails HTTP/1.1", "Host: localhost", f"Authorization: Bearer {api.key}",
        "Content-Type: application/json", f"Content-Length: {len(body)}", "Idempotency-Key: gone",
    ]  # fmt: skip
    assert post(api, "warm").status_code == 202  # its key and domain are known from now on
    before = len(api.records())
    lock = sqlite3.connect(api.data_dir / "sealwax.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with socket.create_connection(("127.0.0.1", api.port)) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        time.sleep(0.5)  # the request is read, and waits for the database
    lock.execute("ROLLBACK")
    lock.close()
    wait_until(lambda: len(api.records()) > before, 10, "its request in the log")
    headers = {"Content-Type": "application/json", "Idempotency-Key": "gone"}

    def repeat() -> httpx.Response:
        return api.http.post("/v1/emails", content=body, headers=headers)

    # Well within the time after which a pending claim is taken over.
    wait_until(lambda: repeat().status_code == 202, 5, "the first answer")
    again = repeat()
    assert ids_in_log(api)[again.json()["id"]] == 1
    assert len(api.records()) == before + 1


def test_while_the_database_is_locked_only_keyed_requests_wait(api: Api):
    assert post(api, "warm").status_code == 202  # its key and domain are known from now on
    answers: list[httpx.Response] = []
    keyed = threading.Thread(target=lambda: answers.append(post(api, "locked")))
    lock = sqlite3.connect(api.data_dir / "sealwax.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    keyed.start()
    with api.client(api.key) as client:
        assert client.post("/v1/emails", json=EMAIL).status_code == 202
    assert not answers
    lock.execute("ROLLBACK")
    lock.close()
    keyed.join()
    assert answers[0].status_code == 202


def test_the_first_answer_outlives_the_process_and_the_domain(fresh: Api):
    first = post(fresh, "kept")
    assert fresh.stop() == 0
    fresh.store.remove_domain("default", "acme.test")
    fresh.start()
    again = post(fresh, "kept")
    assert (again.status_code, again.content) == (202, first.content)
    assert problem(post(fresh, "new")) == (403, "domain-not-usable")
    assert len(fresh.records()) == 1


def test_what_could_not_be_stored_is_taken_at_once_when_it_can(fresh: Api):
    assert fresh.stop() == 0
    fresh._settings["SEALWAX_MIN_FREE"] = "1000000GB"
    fresh.start()
    assert problem(post(fresh, "full")) == (503, "storage-full")
    assert fresh.stop() == 0
    fresh._settings["SEALWAX_MIN_FREE"] = "0B"
    fresh.start()
    assert post(fresh, "full").status_code == 202
    assert len(fresh.records()) == 1


def test_what_a_dead_process_left_is_appended_again_after_ten_seconds_with_the_same_ids(
    moved: Moved,
):
    batch = [EMAIL, {"to": 5}, OTHER]
    body = json.dumps(batch).encode()
    ids = tuple(f"019ab0c1-7a10-7c3e-8f5e-1b2c3d4e5f6{n}" for n in range(3))
    wanted = Take(key_claim("default", "left"), hashlib.sha256(body).digest(), ids, DAY_MS)
    moved.store.write_claims([wanted])

    def repeat() -> httpx.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "left"}
        return moved.http.post("/v1/emails/batch", content=body, headers=headers)

    assert problem(repeat()) == (409, "concurrent-idempotent-requests")
    moved.move(11)
    wait_until(lambda: repeat().status_code == 202, 5, "the claim to be taken over")
    answer = repeat()
    data = answer.json()["data"]
    assert [data[0]["id"], data[2]["id"]] == [ids[0], ids[2]]
    assert "error" in data[1]
    assert ids_in_log(moved) == {ids[0]: 1, ids[2]: 1}


def test_after_a_day_the_key_is_free_for_any_payload(moved: Moved):
    first = post(moved, "daily")
    moved.move(DAY_MS / 1000 - 30)
    assert post(moved, "daily").json() == first.json()
    moved.move(DAY_MS / 1000 + 1)
    wait_until(lambda: post(moved, "daily", OTHER).status_code == 202, 5, "the key to be free")
    second = post(moved, "daily", OTHER)
    assert second.json() != first.json()


def test_a_producers_request_under_the_key_is_answered_with_its_id(api: Api):
    body = json.dumps(EMAIL).encode()
    source = Position("email.requested.transactional", 0, 1)
    ident = "019ab0c1-7a10-7c3e-8f5e-1b2c3d4e5f60"
    name = key_claim("default", "produced")
    digest = hashlib.sha256(body).digest()
    now_ms = 1_900_000_000_000
    api.store.claim_for_records([TakeForRecord(name, digest, ident, source, now_ms, DAY_MS)])
    answer = api.http.post(
        "/v1/emails",
        content=body,
        headers={"Content-Type": "application/json", "Idempotency-Key": "produced"},
    )
    assert (answer.status_code, answer.json()) == (202, {"id": ident})
