"""The process, and the routes that are not about emails."""

import http.client
import json
import subprocess
import threading

import pytest

from tests.support.waiting import wait_until
from tests.unit.api.conftest import EMAIL, Api, Events, by_id


def test_a_port_in_use_is_one_sentence_and_status_1(api: Api):
    second = api.spawn(subprocess.PIPE)
    said, _ = second.communicate(timeout=20)
    assert second.returncode == 1
    assert said.decode().strip() == (
        f"sealwax api: the API's address 127.0.0.1:{api.port} is in use by another program: "
        "stop that, or set SEALWAX_HTTP"
    )
    assert api.send().status_code == 202


def test_a_stop_answers_the_requests_that_are_open(fresh: Api):
    body = json.dumps(EMAIL).encode()
    open_request = http.client.HTTPConnection("127.0.0.1", fresh.port, timeout=20)
    open_request.putrequest("POST", "/v1/emails")
    open_request.putheader("Authorization", f"Bearer {fresh.key}")
    open_request.putheader("Content-Type", "application/json")
    open_request.putheader("Content-Length", str(len(body)))
    open_request.endheaders(body[:10])
    assert fresh.send().status_code == 202  # by now the open one is being read too
    statuses: list[int] = []
    stopping = threading.Thread(target=lambda: statuses.append(fresh.stop()))
    stopping.start()
    wait_until(lambda: _refuses(fresh), 10, "new connections to be refused")
    open_request.send(body[10:])
    answer = open_request.getresponse()
    assert answer.status == 202
    ident = json.loads(answer.read())["id"]
    open_request.close()
    stopping.join()
    assert statuses == [0]
    assert ident in by_id(fresh.records())
    assert not fresh.files.ready("api")
    assert "stopped" in fresh.said


def _refuses(api: Api) -> bool:
    probe = http.client.HTTPConnection("127.0.0.1", api.port, timeout=2)
    try:
        probe.connect()
    except ConnectionRefusedError:
        return True
    finally:
        probe.close()
    return False


@pytest.mark.slow
def test_a_key_that_was_revoked_opens_nothing_after_five_seconds(api: Api):
    created = api.store.create_key("default", "short")
    with api.client(created.key) as client:
        assert client.get("/v1/domains").status_code == 200
        api.store.revoke_key("default", created.id)
        wait_until(lambda: client.get("/v1/domains").status_code == 401, 8, "the key to end")


def test_health_needs_no_key(api: Api):
    with api.client(None) as stranger:
        assert stranger.get("/healthz").json() == {"status": "ok"}
        head = stranger.head("/healthz")
        assert head.status_code == 200
        assert head.content == b""
        options = stranger.options("/v1/emails")
        assert (options.status_code, options.headers["allow"]) == (204, "POST, OPTIONS")


def test_the_platform_is_ready_when_all_four_processes_are(api: Api):
    response = api.http.get("/readyz")
    assert response.status_code == 503
    assert "render, dispatch, analytics" in response.json()["detail"]
    for name in ("render", "dispatch", "analytics"):
        api.files.mark_ready(name)
    try:
        assert api.http.get("/readyz").status_code == 200
    finally:
        for name in ("render", "dispatch", "analytics"):
            api.files.mark_stopped(name)


def test_a_domain_has_its_records_with_the_public_keys(api: Api):
    domain = api.http.get("/v1/domains/ACME.test").json()
    assert domain["name"] == "acme.test"
    values = [r["value"] for r in domain["records"] if "_domainkey" in r["name"]]
    assert any("k=rsa; p=" in value for value in values)
    assert domain in api.http.get("/v1/domains").json()["data"]
    missing = api.http.get("/v1/domains/nobody.test")
    assert missing.status_code == 404
    assert "sealwax domains add" in missing.json()["detail"]


def test_stats_cover_every_day_that_was_asked_for(api: Api, events: Events):
    data = api.http.get("/v1/stats?from=2026-11-01&to=2026-11-03").json()["data"]
    assert [day["date"] for day in data] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert data[0]["delivered"] == 0
    assert len(api.http.get("/v1/stats").json()["data"]) == 7


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("to=20261101", "to"),
        ("from=2026-11-03&to=2026-11-02", "from"),
        ("from=2025-01-01&to=2026-11-02", "from"),
        ("to=0001-01-01", "to"),
    ],
)
def test_stats_of_days_that_are_none_are_refused(api: Api, query: str, field: str):
    response = api.http.get(f"/v1/stats?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


def test_the_openapi_document_describes_every_route_with_examples(api: Api):
    with api.client(None) as stranger:
        document = stranger.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/emails", "/v1/emails/batch", "/v1/emails/{email_id}",
        "/v1/emails/{email_id}/timeline", "/v1/stats", "/v1/domains", "/v1/domains/{name}",
        "/healthz", "/readyz", "/problems/{slug}",
    }  # fmt: skip
    send = document["paths"]["/v1/emails"]["post"]
    example = send["requestBody"]["content"]["application/json"]["example"]
    assert api.http.post("/v1/emails", json=example).status_code == 202
    for path in ("/v1/emails", "/v1/emails/batch"):
        described = document["paths"][path]["post"]
        assert [header["name"] for header in described["parameters"]] == ["Idempotency-Key"]
        assert "409" in described["responses"]
    names = document["components"]["schemas"]
    references = [
        part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]
    ]
    assert set(references) <= set(names)


def test_a_problem_type_can_be_looked_up(api: Api):
    problem = api.send(to="x").json()
    assert api.http.get(problem["type"]).text.startswith("422 invalid-field:")
    assert api.http.get("/problems/nope").status_code == 404
