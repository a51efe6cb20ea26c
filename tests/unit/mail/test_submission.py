"""Reading submissions: what is accepted, and how each refusal names its field."""

import base64
import json

import pytest

from sealwax.errors import SealwaxError
from sealwax.mail.submission import SubmissionError, SubmissionLimits, read_submission
from sealwax.model.address import Mailbox
from sealwax.model.submission import Attachment, TemplateRef
from sealwax.model.topics import Stream

NOW_MS = 1_795_507_200_000  # 2026-11-24T08:00:00Z
LIMITS = SubmissionLimits()
MINIMAL = {
    "from": "Acme <hello@acme.test>",
    "to": "ada@example.test",
    "subject": "Hi",
    "text": "Hello",
}
ABSENT = object()


def email(**fields):
    """The minimal email with fields changed; `author` stands for from, ABSENT takes one away."""
    if "author" in fields:
        fields["from"] = fields.pop("author")
    return {name: value for name, value in (MINIMAL | fields).items() if value is not ABSENT}


def read(value, stream_of_topic=None, limits=LIMITS):
    if isinstance(value, dict):
        value = json.dumps(value).encode()
    return read_submission(value, stream_of_topic=stream_of_topic, limits=limits, now_ms=NOW_MS)


def refused(value, **options):
    with pytest.raises(SubmissionError) as error:
        read(value, **options)
    assert error.value.detail
    assert error.value.fix
    assert isinstance(error.value, SealwaxError)
    return error.value


# What is accepted


def test_the_smallest_email_gets_every_default():
    read_email = read(MINIMAL)
    assert read_email.author == Mailbox("Acme", "hello", "acme.test")
    assert read_email.to == read_email.recipients == (Mailbox("", "ada", "example.test"),)
    assert (read_email.cc, read_email.bcc, read_email.reply_to) == ((), (), ())
    assert (read_email.subject, read_email.html, read_email.text) == ("Hi", None, "Hello")
    assert (read_email.headers, read_email.attachments, read_email.tags) == ((), (), ())
    assert read_email.stream is Stream.TRANSACTIONAL
    assert read_email.give_up_after_ms is None
    assert read_email.data is None
    assert read_email.data_json is None
    assert read_email.template is None


def test_every_field_is_read():
    read_email = read(
        email(
            to=["a@x.test", "B <b@x.test>"],
            cc="c@x.test",
            bcc=["d@x.test"],
            reply_to="r@acme.test",
            html="<p>Hi</p>",
            headers={"X-Order": "1", "References": "<a@b>"},
            attachments=[{"filename": "a.txt", "content": "aGk="}],
            tags=[{"name": "kind", "value": "welcome-1"}],
            scheduled_at="2026-11-24T08:00:00Z",
            data={"name": "Ada", "n": [1, 2.5, None, True]},
            stream="marketing",
            give_up_after="2d",
        )
    )
    assert [m.address for m in read_email.recipients] == [
        "a@x.test",
        "b@x.test",
        "c@x.test",
        "d@x.test",
    ]
    assert read_email.reply_to == (Mailbox("", "r", "acme.test"),)
    assert read_email.headers == (("X-Order", "1"), ("References", "<a@b>"))
    assert read_email.attachments == (Attachment("a.txt", b"hi", "text/plain", ""),)
    assert read_email.tags == (("kind", "welcome-1"),)
    assert read_email.stream is Stream.MARKETING
    assert read_email.give_up_after_ms == 2 * 24 * 3600 * 1000
    assert read_email.data == {"name": "Ada", "n": [1, 2.5, None, True]}
    assert json.loads(read_email.data_json) == read_email.data


def test_a_dict_is_read_like_its_json():
    value = email(attachments=[{"filename": "a", "content": [0, 255]}], data={})
    assert read_submission(value, stream_of_topic=None, limits=LIMITS, now_ms=NOW_MS) == read(value)


def test_null_is_the_same_as_absent_and_unknown_fields_are_ignored():
    nothing = dict.fromkeys(
        ["cc", "bcc", "reply_to", "html", "headers", "attachments", "tags", "scheduled_at", "template",
         "data", "stream", "give_up_after"]
    )  # fmt: skip
    assert read(email(**nothing, topic_id="x", to_=[{"a": 1}])) == read(MINIMAL)
    assert read(email(cc=[], bcc=[], reply_to=[], headers={}, attachments=[], tags=[])) == read(
        MINIMAL
    )


def test_a_recipient_counts_once_by_local_part_and_by_domain_in_any_case():
    read_email = read(
        email(to=["Ada <a@X.test>", "A@x.test"], cc=["a@x.TEST"], bcc=["b@x.test", "A@X.test"])
    )
    assert [m.address for m in read_email.recipients] == ["a@x.test", "A@x.test", "b@x.test"]
    assert read_email.recipients[0].name == "Ada"
    assert len(read_email.to) == 2


def test_empty_data_asks_for_rendering_and_no_data_does_not():
    assert read(email(data={})).data_json == b"{}"
    assert read(email(data=None)).data_json is None


def test_a_template_brings_subject_and_bodies():
    value = email(subject=ABSENT, text=ABSENT, template={"id": "welcome", "variables": {"a": 1}})
    read_email = read(value)
    assert read_email.template == TemplateRef("welcome", None, {"a": 1})
    assert (read_email.subject, read_email.html, read_email.text) == (None, None, None)
    assert read_email.data == {"a": 1}
    pinned = read(email(text=ABSENT, template={"id": "welcome", "version": 3}, data={"b": 2}))
    assert pinned.template == TemplateRef("welcome", 3, {"b": 2})
    assert (pinned.subject, pinned.data) == ("Hi", {"b": 2})
    assert read(email(text=ABSENT, template={"id": "welcome"})).data == {}


def test_the_topic_gives_the_stream_where_the_value_is_silent_or_agrees():
    assert read(MINIMAL, stream_of_topic=Stream.MARKETING).stream is Stream.MARKETING
    assert (
        read(email(stream="marketing"), stream_of_topic=Stream.MARKETING).stream is Stream.MARKETING
    )


@pytest.mark.parametrize(
    "at", ["2026-11-24T08:00:00Z", "2026-11-24T09:59:59+02:00", "0001-01-01T00:00:00+14:00"]
)
def test_a_time_that_has_come_is_now(at):
    assert read(email(scheduled_at=at)) == read(MINIMAL)


@pytest.mark.parametrize(
    ("text", "ms"), [("1m", 60_000), ("60s", 60_000), ("24h", 86_400_000), ("7d", 604_800_000)]
)
def test_give_up_after_is_from_a_minute_to_a_week(text, ms):
    assert read(email(give_up_after=text)).give_up_after_ms == ms


def test_text_in_any_language_is_kept():
    assert read(email(headers={"References": "<a@b> " * 300, "X-A": " " * 901})).headers
    subject = "Grüße 👩‍💻 \u202fé \t 你好"
    read_email = read(email(subject=subject, text="\u2028\f", headers={"X-Name": "Łódź"}))
    assert read_email.subject == subject
    assert read_email.text == "\u2028\f"
    assert read_email.headers == (("X-Name", "Łódź"),)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"filename": "a.pdf", "content": "aGk="}, Attachment("a.pdf", b"hi", "application/pdf", "")),
        ({"filename": "a.csv.gz", "content": ""}, Attachment("a.csv.gz", b"", "application/octet-stream", "")),
        ({"filename": "naïve", "content": [104, 105]}, Attachment("naïve", b"hi", "application/octet-stream", "")),
        ({"filename": "a", "content": "aG\r\nk=\n"}, Attachment("a", b"hi", "application/octet-stream", "")),
        (
            {"filename": "i.ics", "content": "", "content_type": 'text/calendar; method=REQUEST;charset="utf-8"'},
            Attachment("i.ics", b"", 'text/calendar; method=REQUEST;charset="utf-8"', ""),
        ),
        ({"filename": "l.png", "content": "", "content_id": "<logo@acme>"}, Attachment("l.png", b"", "image/png", "logo@acme")),
        ({"filename": "l.png", "content": "", "inline_content_id": "logo"}, Attachment("l.png", b"", "image/png", "logo")),
    ],
)  # fmt: skip
def test_attachments_are_decoded(given, expected):
    assert read(email(attachments=[given])).attachments == (expected,)


def test_every_byte_of_an_attachment_stays():
    content = bytes(range(256)) * 40
    encoded = base64.encodebytes(content).decode()
    assert (
        read(email(attachments=[{"filename": "a", "content": encoded}])).attachments[0].content
        == content
    )


# What is refused: each names the field


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"author": ABSENT}, "from", "missing"),
        ({"author": ""}, "from", "is empty"),
        ({"author": "hello"}, "from", "no @"),
        ({"author": "a@acme.test, b@acme.test"}, "from", "several"),
        ({"author": "A\r\nBcc: x@y.z <a@acme.test>"}, "from", "control character"),
        ({"author": ["a@acme.test"]}, "from", "must be text, not a list"),
        ({"to": ABSENT}, "to", "no recipient"),
        ({"to": []}, "to", "no recipient"),
        ({"to": ""}, "to", "is empty"),
        ({"to": 5}, "to", "must be text or a list, not a whole number"),
        ({"to": "a@b.test, c@d.test"}, "to", "several"),
        ({"to": ["a@b.test", "c@d.test", "x"]}, "to[2]", "'x' has no @"),
        ({"to": ["a@b.test", None]}, "to[1]", "must be text, not null"),
        ({"to": ["a@b.test\nRCPT TO:<x@y.z>"]}, "to[0]", "control character"),
        ({"to": ["a@[10.0.0.1]"]}, "to[0]", "IP address"),
        ({"to": ["ü@b.test"]}, "to[0]", "SMTPUTF8"),
        ({"cc": ["a@b.test", "a@localhost"]}, "cc[1]", "one label"),
        ({"bcc": "a b@c.test"}, "bcc", "space"),
        ({"reply_to": ["nobody"]}, "reply_to[0]", "no @"),
        ({"reply_to": ["a@b.test"] * 51}, "reply_to", "51 addresses"),
        ({"to": ["a@b.test"] * 30, "cc": ["c@b.test"] * 20, "bcc": "d@b.test"}, "to", "51 recipients"),
        ({"subject": ABSENT}, "subject", "missing"),
        ({"subject": ""}, "subject", "missing"),
        ({"subject": "a\nb"}, "subject", "line break"),
        ({"subject": "a\rBcc: x@y.z"}, "subject", "line break"),
        ({"subject": "a\x07b"}, "subject", "control character"),
        ({"subject": "a\0b"}, "subject", "control character"),
        ({"subject": "x" * 999}, "subject", "999"),
        ({"subject": 1}, "subject", "must be text"),
        ({"text": ABSENT}, "html", "no content"),
        ({"text": "", "html": ""}, "html", "no content"),
        ({"text": "a\0b"}, "text", "U+0000"),
        ({"html": "a\0b"}, "html", "U+0000"),
        ({"html": {}}, "html", "must be text, not an object"),
        ({"headers": {"From": "a@b.test"}}, "headers.From", "written by sealwax"),
        ({"headers": {"bcc": "a@b.test"}}, "headers.bcc", "written by sealwax"),
        ({"headers": {"Reply-To": "a@b.test"}}, "headers.Reply-To", "written by sealwax"),
        ({"headers": {"Content-Type": "text/html"}}, "headers.Content-Type", "written by sealwax"),
        ({"headers": {"X-SEALWAX-ID": "x"}}, "headers.X-SEALWAX-ID", "written by sealwax"),
        ({"headers": {"X-A": "a\r\nBcc: x@y.z"}}, "headers.X-A", "line break"),
        ({"headers": {"X-A": "a\x1bb"}}, "headers.X-A", "control character"),
        ({"headers": {"X-A": "a\0b"}}, "headers.X-A", "control character"),
        ({"headers": {"X-A\0": "a"}}, "headers", "cannot"),
        ({"headers": {"X-A": "a " + "x" * 901}}, "headers.X-A", "over 900"),
        ({"headers": {"X A": "1"}}, "headers", "'X A' cannot"),
        ({"headers": {"X:A": "1"}}, "headers", "cannot"),
        ({"headers": {"X\nA": "1"}}, "headers", "cannot"),
        ({"headers": {"": "1"}}, "headers", "cannot"),
        ({"headers": {"Ü": "1"}}, "headers", "cannot"),
        ({"headers": {"X-A": 1}}, "headers", "must be text, not a whole number"),
        ({"headers": [["X-A", "1"]]}, "headers", "must be an object"),
        ({"tags": [{"name": "a b", "value": "1"}]}, "tags[0].name", "not allowed"),
        ({"tags": [{"name": "a", "value": "1"}, {"name": "b", "value": "ü"}]}, "tags[1].value", "not allowed"),
        ({"tags": [{"name": "a", "value": "x" * 257}]}, "tags[0].value", "not allowed"),
        ({"tags": [{"name": "a", "value": ""}]}, "tags[0].value", "not allowed"),
        ({"tags": [{"name": "a"}]}, "tags[0].value", "missing"),
        ({"tags": [{"value": "a"}]}, "tags[0].name", "missing"),
        ({"tags": [{"name": "a", "value": "1"}] * 2}, "tags[1].name", "twice"),
        ({"tags": [{"name": f"a{n}", "value": "1"} for n in range(51)]}, "tags", "51 tags"),
        ({"tags": {"a": "1"}}, "tags", "must be a list"),
        ({"tags": ["a"]}, "tags[0]", "must be an object"),
        ({"attachments": [{"content": ""}]}, "attachments[0].filename", "no file name"),
        ({"attachments": [{"filename": "a\nb", "content": ""}]}, "attachments[0].filename", "control"),
        ({"attachments": [{"filename": "x" * 256, "content": ""}]}, "attachments[0].filename", "255"),
        ({"attachments": [{"filename": "a"}]}, "attachments[0].content", "no content"),
        ({"attachments": [{"filename": "a", "content": "aGk"}]}, "attachments[0].content", "not base64"),
        ({"attachments": [{"filename": "a", "content": "data:;base64,aGk="}]}, "attachments[0].content", "not base64"),
        ({"attachments": [{"filename": "a", "content": "_-8="}]}, "attachments[0].content", "not base64"),
        ({"attachments": [{"filename": "a", "content": "é"}]}, "attachments[0].content", "not base64"),
        ({"attachments": [{"filename": "a", "content": [256]}]}, "attachments[0].content", "list of bytes"),
        ({"attachments": [{"filename": "a", "content": [-1]}]}, "attachments[0].content", "list of bytes"),
        ({"attachments": [{"filename": "a", "content": ["b"]}]}, "attachments[0].content[0]", "whole number"),
        ({"attachments": [{"filename": "a", "path": "http://x/"}]}, "attachments[0].path", "not yet available"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "pdf"}]}, "attachments[0].content_type", "media type"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "a/b\r\nX: y"}]}, "attachments[0].content_type", "media type"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "Multipart/mixed"}]}, "attachments[0].content_type", "multipart"),
        ({"attachments": [{"filename": "a", "content": "", "content_id": "a b"}]}, "attachments[0].content_id", "content id"),
        ({"attachments": [{"filename": "a", "content": "", "inline_content_id": "a>\r\n"}]}, "attachments[0].inline_content_id", "content id"),
        ({"scheduled_at": "2026-11-24T08:00:01Z"}, "scheduled_at", "not yet available"),
        ({"scheduled_at": "9999-12-31T23:59:59-14:00"}, "scheduled_at", "not yet available"),
        ({"scheduled_at": "in 1 min"}, "scheduled_at", "not yet available"),
        ({"scheduled_at": "2026-11-24T08:00:00"}, "scheduled_at", "no time zone"),
        ({"scheduled_at": 1795507200}, "scheduled_at", "must be text"),
        ({"template": {"variables": {}}}, "template.id", "missing"),
        ({"template": {"id": ""}}, "template.id", "missing"),
        ({"template": {"id": "x" * 101}}, "template.id", "cannot name"),
        ({"template": "welcome"}, "template", "must be an object, not text"),
        ({"template": {"id": "w", "version": 0}, "text": ABSENT}, "template.version", "no version 0"),
        ({"template": {"id": "w", "version": 10**40}, "text": ABSENT}, "template.version", "no version 1000"),
        ({"template": {"id": "w", "version": "1"}}, "template.version", "must be a whole number"),
        ({"template": {"id": "w", "variables": []}}, "template.variables", "must be an object"),
        ({"template": {"id": "w", "variables": {}}, "data": {}}, "data", "same thing"),
        ({"template": {"id": "w"}}, "text", "comes from the template"),
        ({"template": {"id": "w"}, "text": ABSENT, "html": "x"}, "html", "comes from the template"),
        ({"data": []}, "data", "must be an object"),
        ({"data": {"a": "x\0"}}, "data", "'a' contains the character U+0000"),
        ({"data": {"a": {"b": ["x", "\0"]}}}, "data", "'b' contains the character U+0000"),
        ({"data": {"a\0": 1}}, "data", "contains the character U+0000"),
        ({"template": {"id": "w", "variables": {"a": "\0"}}, "text": ABSENT}, "template.variables", "U+0000"),
        ({"template": {"id": "w\0"}, "text": ABSENT}, "template.id", "cannot name"),
        ({"data": {"a": 10**30}}, "data", "too large"),
        ({"data": {"a": [-(10**19)]}}, "data", "too large"),
        ({"stream": "bulk"}, "stream", "not a stream"),
        ({"stream": ""}, "stream", "not a stream"),
        ({"stream": 1}, "stream", "must be text"),
        ({"give_up_after": "59s"}, "give_up_after", "out of range"),
        ({"give_up_after": "8d"}, "give_up_after", "out of range"),
        ({"give_up_after": "999999999d"}, "give_up_after", "out of range"),
        ({"give_up_after": "1 day"}, "give_up_after", "not a duration"),
        ({"give_up_after": 3600}, "give_up_after", "must be text"),
    ],
)  # fmt: skip
def test_each_refusal_names_its_field(fields, field, words):
    error = refused(email(**fields))
    assert error.field == field
    assert words in error.detail
    assert error.status == 422
    assert str(error).startswith(f"{field}: ")


def test_the_stream_of_the_topic_must_not_be_contradicted():
    error = refused(email(stream="marketing"), stream_of_topic=Stream.TRANSACTIONAL)
    assert (error.field, error.status) == ("stream", 422)
    assert "email.requested.marketing" in error.fix


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"nonsense", b'{"to":}', b"{}{}", b"\xff", b'{"subject":"\xff"}', b'{"unknown":"\xff"}',
        b'{"subject":"\\ud800"}', b'{"unknown":"\\udfff"}', b'{"a":"\x00"}', b"\xef\xbb\xbf{}",
        b'{"data":{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}}",
        b'{"unknown":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        "{}".encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_400_about_the_whole(value):
    error = refused(value)
    assert (error.field, error.status) == ("", 400)
    assert "not valid JSON" in error.detail


@pytest.mark.parametrize("value", [b"[]", b"null", b"1", b'"x"', b"true", b"[{}]"])
def test_json_that_is_no_object_is_refused(value):
    error = refused(value)
    assert (error.field, error.status) == ("", 422)
    assert "must be an object" in error.detail


@pytest.mark.parametrize("number", ["1" * 10_000, "1e999", "-1e999"])
def test_numbers_beyond_all_measure_are_refused(number):
    error = refused(json.dumps(email(data={"a": "N"})).replace('"N"', number).encode())
    assert (error.field, error.status) == ("data", 422)


def test_data_may_be_64_deep_and_no_deeper():
    def nested(levels):
        data: dict[str, object] = {}
        for _ in range(levels - 1):
            data = {"a": data}
        return email(data=data)

    assert read(nested(64)).data
    assert "64" in refused(nested(65)).detail
    assert refused(nested(65)).field == "data"


def test_a_value_over_the_limit_is_a_413_whatever_is_in_it():
    value = json.dumps(email(text="x" * 1000)).encode()
    assert read(value, limits=SubmissionLimits(max_bytes=len(value)))
    error = refused(value, limits=SubmissionLimits(max_bytes=len(value) - 1))
    assert (error.field, error.status) == ("", 413)
    assert refused(b"x" * 1_000_001).status == 413


@pytest.mark.parametrize(
    "value", [{"a": object()}, {"subject": "\ud800"}, {("a",): 1}, {"a": {1j}}]
)
def test_a_dict_that_is_no_json_is_a_400(value):
    with pytest.raises(SubmissionError) as error:
        read_submission(value, stream_of_topic=None, limits=LIMITS, now_ms=NOW_MS)
    assert error.value.status == 400


def test_an_error_shows_no_more_than_a_piece_of_what_was_sent():
    for fields in ({"to": "x" * 900}, {"stream": "x" * 900}, {"tags": [{"name": "x " * 900}]},
                   {"give_up_after": "x" * 900}, {"headers": {"x " * 400: ""}}):  # fmt: skip
        assert len(str(refused(email(**fields)))) < 400


def test_hostile_data_costs_no_more_than_its_size():
    # Naming each value by its whole path would need 100 GB here.
    assert read(email(data={"k" * 400_000: [1] * 150_000})).data
    assert len(str(refused(email(data={"k" * 400_000: [1] * 100_000 + [2**63]})))) < 400
