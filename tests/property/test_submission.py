"""What holds for every value that is read as a submission."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sealwax.mail.submission import SubmissionError, SubmissionLimits, read_submission

LIMITS = SubmissionLimits()
ODD = st.sampled_from(
    ["", "a@b.test", "A <a@b.test>", "a@b.test\r\nX: y", "\0", "\ud800", "transactional", "marketing", "5m", "99d",
     "aGk=", "2026-11-24T08:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "From", "x" * 999]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(),
    ODD,
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
TEXTS = st.one_of(ODD, st.text(), JSON)
FIELDS = {
    "from": TEXTS,
    "to": st.one_of(TEXTS, st.lists(TEXTS)),
    "cc": st.one_of(TEXTS, st.lists(TEXTS)),
    "bcc": TEXTS,
    "reply_to": TEXTS,
    "subject": TEXTS,
    "html": TEXTS,
    "text": TEXTS,
    "headers": st.one_of(JSON, st.dictionaries(st.one_of(ODD, st.text()), TEXTS)),
    "attachments": st.one_of(
        JSON,
        st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(
            ["filename", "content", "content_type", "content_id", "inline_content_id", "path"], TEXTS))),
    ),
    "tags": st.one_of(JSON, st.lists(st.fixed_dictionaries({}, optional={"name": TEXTS, "value": TEXTS}))),
    "scheduled_at": TEXTS,
    "template": st.one_of(JSON, st.fixed_dictionaries({}, optional={"id": TEXTS, "version": JSON, "variables": JSON})),
    "data": JSON,
    "stream": TEXTS,
    "give_up_after": TEXTS,
    "unknown": JSON,
}  # fmt: skip
GOOD = {"from": "a@acme.test", "to": "b@example.test", "subject": "s", "text": "t", "html": "h"}


def read(value):
    try:
        return read_submission(value, stream_of_topic=None, limits=LIMITS, now_ms=0)
    except SubmissionError as error:
        assert error.status in {400, 413, 422}
        assert error.detail
        assert error.fix
        assert str(error)
        return None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_submission_or_a_submission_error(value):
    read(value)


@given(JSON)
def test_any_json_is_a_submission_or_a_submission_error(value):
    read(json.dumps(value).encode())


@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_object_with_our_fields_is_a_submission_or_a_submission_error(value):
    read(value)
    read(json.dumps(value).encode())


@given(st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name])))
def test_one_odd_field_in_a_good_email_is_accepted_or_refused_by_name(change):
    name, odd = change
    value = GOOD | {name: odd}
    try:
        submission = read_submission(value, stream_of_topic=None, limits=LIMITS, now_ms=0)
    except SubmissionError as error:
        # A template is also at fault through the bodies it excludes; no JSON is no field's fault.
        assert error.field == "" or name == "template" or error.field.startswith(name)
        return
    for text in (submission.subject or "", *(t for pair in submission.headers for t in pair)):
        assert "\r" not in text
        assert "\n" not in text
    assert submission.recipients
    if submission.data_json is not None:
        assert json.loads(submission.data_json) == submission.data
