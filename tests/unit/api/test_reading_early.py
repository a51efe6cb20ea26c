"""What the API says about an email while no event can be read."""

from sealwax.model.email_id import accepted_at_ms, email_id
from tests.unit.api.conftest import Api


def test_an_email_that_was_just_accepted_is_queued_while_events_cannot_be_read(api: Api):
    response = api.send(
        cc="cy@example.test",
        bcc=["Bob <bob@example.test>", "ada@example.test"],
        subject="Hi {{name}}",
        html="<p>{{name}}</p>",
        data={"name": "A&B"},
        tags=[{"name": "kind", "value": "order"}],
    )
    ident = response.json()["id"]
    email = api.http.get(f"/v1/emails/{ident}").json()
    assert email["id"] == ident
    assert email["status"] == "queued"
    assert email["from"] == "Acme <hello@acme.test>"
    assert email["to"] == ["ada@example.test"]
    assert email["bcc"] == ["Bob <bob@example.test>", "ada@example.test"]
    assert email["subject"] == "Hi A&B"
    assert email["html"] == "<p>A&amp;B</p>"
    assert email["tags"] == [{"name": "kind", "value": "order"}]
    assert [r["address"] for r in email["recipients"]] == [
        "ada@example.test", "cy@example.test", "bob@example.test",
    ]  # fmt: skip
    assert {r["verdict"] for r in email["recipients"]} == {"queued"}


def test_its_timeline_begins_with_accepted_before_any_row_is_stored(api: Api):
    ident = api.send().json()["id"]
    (step,) = api.http.get(f"/v1/emails/{ident}/timeline").json()["data"]
    assert step["kind"] == "accepted"
    assert step["recipient"] is None
    assert step["at"].endswith(f".{accepted_at_ms(ident) % 1000:03}Z")


def test_an_email_that_is_not_of_the_last_minutes_is_503_while_events_cannot_be_read(api: Api):
    ident = email_id(1_760_000_000_000, b"0123456789")
    for path in (f"/v1/emails/{ident}", f"/v1/emails/{ident}/timeline", "/v1/stats"):
        response = api.http.get(path)
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/events-away"
        assert int(response.headers["retry-after"]) > 0
