"""What the API refuses: with which status, about which field, and that nothing is appended."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.unit.api.conftest import EMAIL, Api

MEGABYTE = "x" * 1_000_000


@pytest.fixture(autouse=True)
def nothing_is_appended(api: Api) -> Iterator[None]:
    before = len(api.records())
    yield
    assert len(api.records()) == before


def refused(response: httpx.Response, status: int, kind: str, field: str = "") -> str:
    """The text of a problem, after a look at its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    problem = response.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["title"]
    fields = [error["field"] for error in problem.get("errors", [])]
    assert fields == ([field] if field else [])
    return str(problem["detail"])


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"to": "ada"}, "to", "'ada'"),
        ({"to": ["ada@example.test", "b@@example.test"]}, "to[1]", "Write it as"),
        ({"to": []}, "to", "no recipient"),
        ({"to": 5}, "to", "must be text or a list"),
        ({"cc": [1]}, "cc[0]", "must be text"),
        ({"from": None}, "from", "Write from as"),
        ({"from": "Acme <hello@acme.test>\r\nBcc: eve@evil.test"}, "from", "control character"),
        ({"subject": "Hi\r\nBcc: eve@evil.test"}, "subject", "a line break"),
        ({"subject": None}, "subject", "missing"),
        ({"headers": {"X-Order": "1\r\nBcc: eve@evil.test"}}, "headers.X-Order", "a line break"),
        ({"headers": {"X Order": "1"}}, "headers", "cannot be the name"),
        ({"html": None}, "html", "no content"),
        ({"to": [f"u{i}@example.test" for i in range(51)]}, "to", "50 is the most"),
        ({"scheduled_at": "2999-01-01T00:00:00Z"}, "scheduled_at", "not yet available"),
        ({"stream": "bulk"}, "stream", "transactional or marketing"),
        ({"give_up_after": "5 minutes"}, "give_up_after", "such as 15m"),
        ({"tags": [{"name": "a b", "value": "c"}]}, "tags[0].name", "not allowed"),
        ({"attachments": [{"filename": "a", "content": "?"}]}, "attachments[0].content", "base64"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_to_do(
    api: Api, changes: dict[str, Any], field: str, words: str
):
    assert words in refused(api.send(**changes), 422, "invalid-field", field)


@pytest.mark.parametrize("field", ["subject", "html", "text"])
def test_a_variable_that_the_template_needs_and_does_not_get_is_found_at_accept(
    api: Api, field: str
):
    response = api.send(**{field: "Hi {{first_name}}"}, data={"name": "Ada"})
    detail = refused(response, 422, "missing-variable", field)
    assert "first_name" in detail
    assert "Put it into data" in detail


def test_a_template_that_cannot_be_read_is_refused(api: Api):
    detail = refused(api.send(html="{{#if", data={}), 422, "invalid-template", "html")
    assert "line 1" in detail


@pytest.mark.parametrize(
    "template",
    [
        '{{#*inline "a"}}{{> a}}{{/inline}}{{> a}}',
        '{{~#*inline "a"}}{{~> a}}{{/inline}}{{~> a}}',
        '{{#* inline "a"}}{{ > a }}{{/inline}}{{\n>a}}',
        '{{#*inline "a"}}{{#> a}}x{{/a}}{{/inline}}{{> a}}',
        "{{# > a}}x{{/a}}",
        "{{> @partial-block}}",
    ],
)
def test_a_template_that_could_include_itself_without_end_is_refused(api: Api, template: str):
    assert "partial" in refused(api.send(html=template, data={}), 422, "invalid-template", "html")
    api.store.put_template("default", "endless", "Hi", "<p>Hi</p>", template)
    response = api.send(subject=None, html=None, template={"id": "endless"})
    assert "partial" in refused(response, 422, "invalid-template", "text")


@pytest.mark.parametrize("pattern", [" ", "{{ ", "{{~ # ", "{"])
def test_a_megabyte_that_is_no_template_is_refused_in_no_time(api: Api, pattern: str):
    template = "{{" + pattern * (900_000 // len(pattern))
    started = time.monotonic()
    refused(api.send(html=template, data={}), 422, "invalid-template", "html")
    assert time.monotonic() - started < 3


def test_a_value_that_breaks_the_subject_into_lines_is_refused(api: Api):
    response = api.send(subject="Hi {{name}}", data={"name": "Ada\r\nBcc: eve@evil.test"})
    assert "a line break" in refused(response, 422, "invalid-field", "subject")


def test_an_unknown_template_is_refused(api: Api):
    response = api.send(html=None, template={"id": "nope"})
    assert "nope" in refused(response, 422, "unknown-template", "template.id")
    api.store.put_template("default", "known", "Hi", "<p>Hi</p>", None)
    response = api.send(html=None, template={"id": "known", "version": 7})
    assert "version 7" in refused(response, 422, "unknown-template", "template.version")


def test_a_domain_of_nobody_or_of_another_tenant_is_refused(api: Api):
    api.store.create_tenant("other", "Other")
    api.store.add_domain("other", "other.test", trusted=True)
    api.store.add_domain("default", "untrusted.test", trusted=False)
    for domain in ("nobody.test", "other.test", "untrusted.test", "sub.acme.test"):
        response = api.send(**{"from": f"hello@{domain}"})
        detail = refused(response, 403, "domain-not-usable", "from")
        assert f"sealwax domains add {domain} --trusted" in detail


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"from": "hello@acme.test", "to": }', "byte 34"),
        (b'{"from": ', "truncated"),
        (b"", "truncated"),
        (b'{"subject": "\xff"}', "UTF-8"),
        (b'{"data":' + b'{"a":' * 100_000, "deep"),
    ],
)
def test_malformed_json_is_refused_with_the_place(api: Api, body: bytes, words: str):
    headers = {"Content-Type": "application/json"}
    response = api.http.post("/v1/emails", content=body, headers=headers)
    assert words in refused(response, 400, "invalid-json")


def test_something_else_than_an_object_is_refused(api: Api):
    refused(api.http.post("/v1/emails", json=[EMAIL]), 422, "invalid-field")
    refused(api.http.post("/v1/emails", json="text"), 422, "invalid-field")


def test_an_email_over_one_megabyte_is_refused(api: Api):
    refused(api.send(html=MEGABYTE), 413, "too-large")

    def chunks() -> Iterator[bytes]:
        yield b'{"html": "'
        for _ in range(30):
            yield MEGABYTE.encode()

    headers = {"Content-Type": "application/json"}
    refused(api.http.post("/v1/emails", content=chunks(), headers=headers), 413, "too-large")


def test_a_body_that_is_no_json_is_refused(api: Api):
    refused(api.http.post("/v1/emails", data={"to": "a"}), 415, "unsupported-media-type")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = api.http.post("/v1/emails", content=b"x", headers=headers)
    assert "gzip" in refused(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("path", ["/v1/emails", "/v1/emails/batch"])
def test_a_request_without_a_key_is_refused(api: Api, path: str):
    with api.client(None) as stranger:
        response = stranger.post(path, json=[EMAIL])
        assert "sealwax keys create" in refused(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_every_key_that_opens_nothing_gets_the_same_answer(api: Api):
    revoked = api.store.create_key("default", "revoked")
    api.store.revoke_key("default", revoked.id)
    almost = api.key[:-1] + ("a" if api.key[-1] != "a" else "b")
    answers = set()
    for key in (revoked.key, almost, "x", "x" * 5_000, "sw_", "é"):
        headers = {b"Authorization": f"Bearer {key}".encode()}
        with api.client(None) as stranger:
            for path in ("/v1/domains", "/v1/stats", "/v1/emails/x"):
                response = stranger.get(path, headers=headers)
                answers.add(refused(response, 401, "unauthenticated"))
            answers.add(
                refused(stranger.post("/v1/emails", headers=headers), 401, "unauthenticated")
            )
    assert len(answers) == 1


def test_a_key_anywhere_but_in_the_authorization_header_is_no_key(api: Api):
    with api.client(None) as stranger:
        response = stranger.get(
            "/v1/domains", params={"api_key": api.key}, headers={"X-Api-Key": api.key}
        )
        refused(response, 401, "unauthenticated")
        response = stranger.get("/v1/domains", auth=("user", api.key))
        refused(response, 401, "unauthenticated")


def test_a_method_that_a_path_does_not_take_is_refused_with_those_it_takes(api: Api):
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        response = api.http.request(method, "/v1/emails")
        assert response.status_code == 405
        assert response.headers["allow"] == "POST, OPTIONS"
    response = api.http.post("/v1/domains")
    refused(response, 405, "method-not-allowed")
    assert "GET" in response.headers["allow"]


def test_an_unknown_path_is_refused(api: Api):
    for path in ("/", "/v1", "/v1/email", "/v1/emails/a/b/c", "/docs"):
        assert "/openapi.json" in refused(api.http.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ([], 422, "invalid-field"),
        ([EMAIL] * 1_001, 422, "invalid-field"),
        (EMAIL, 422, "invalid-field"),
        ([{"html": MEGABYTE}] * 33, 413, "too-large"),
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(api: Api, body: Any, status: int, kind: str):
    refused(api.http.post("/v1/emails/batch", json=body), status, kind)


def test_a_batch_that_is_not_json_is_refused(api: Api):
    content = json.dumps([EMAIL, EMAIL]).encode()[:-5]
    headers = {"Content-Type": "application/json"}
    response = api.http.post("/v1/emails/batch", content=content, headers=headers)
    refused(response, 400, "invalid-json")
