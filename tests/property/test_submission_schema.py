"""The JSON Schema that producers get, and the code that reads what they send, accept the same."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealwax.mail import submission_schema
from sealwax.mail.submission import SubmissionError, SubmissionLimits, read_submission
from sealwax.mail.submission_schema import BEYOND, EXAMPLES
from sealwax.model.topics import Stream
from tests.property.test_submission import FIELDS

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs/schemas/email-requested.schema.json"
SCHEMA = json.loads(FILE.read_text())
NOW_MS = 1_795_000_000_000
# How the code says each of the rules that the schema does not: pattern of its error.
SAID = {
    "size": r"the most\. Send less",
    "addresses": r"^(from|to|cc|bcc|reply_to)(\[\d+\])?: The address",
    "recipients": r"recipients in to, cc and bcc;",
    "long words": r"^headers\.[\s\S]*a word of over",
    "base64": r"content: The content is not base64",
    "tag names": r"^tags.*is there twice",
    "template names": r"cannot name a template",
    "data depth": r"^(data|template\.variables): .*nested more than",
    "data numbers": r"^(data|template\.variables): [\s\S]*too large for a signed number",
    "whole numbers": r"a whole number.*, not a number",
    "durations": r"^give_up_after: .* out of range",
    "times": r"^scheduled_at: (?!This must be)",
    "streams": r"is not that of the record's topic",
}


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Any:
    """`pattern` as ECMA-262 has it: `$` is the end, and not a line's end before it."""
    if isinstance(instance, str) and not re.search(
        re.sub(r"\$(?=\)|$)", r"\\Z", pattern), instance
    ):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


VALIDATOR = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})(
    SCHEMA
)


def refusal(value: Any) -> SubmissionError | None:
    try:
        read_submission(
            json.dumps(value).encode(),
            stream_of_topic=Stream.TRANSACTIONAL,
            limits=SubmissionLimits(),
            now_ms=NOW_MS,
        )
    except SubmissionError as error:
        return error
    return None


def rule_of(error: SubmissionError) -> str | None:
    return next((name for name, said in SAID.items() if re.search(said, str(error))), None)


def is_json(value: Any) -> bool:
    """Python writes half surrogates, NaN and infinity, which are no JSON."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def assert_agreed(value: Any) -> None:
    """Both accept it or both refuse it, or a rule that the schema has not refuses it."""
    problem = next(iter(VALIDATOR.iter_errors(value)), None)
    error = refusal(value)
    if problem is None:
        assert error is None or rule_of(error), f"only the code refuses it: {error}"
    else:
        assert error, f"only the schema refuses it: {problem}"


ADDRESSES: list[Any] = ["a@b.test", "A <a@b.test>", '"x, y" <a@b.test>', "<a@b.test>", "a@münchen.test", "a@b", "@", "",
             "a@b.test\n", "a\t@b.test", "é@b.test", "a@b.test, c@d.test", "x@y", "a@b.test\x85", "aa", "a b.test",
             "n" * 985 + "<a@b.test>", "n" * 989 + "<a@b.test>", "\u2028<a@b.test>", 7, None, {}]  # fmt: skip
LISTS: list[Any] = [[], [None], [7], ["a@b.test"] * 50, ["a@b.test"] * 51, {"a": "b"}, *([a] for a in ADDRESSES), *(["a@b.test", a] for a in ADDRESSES)]  # fmt: skip
LINES: list[Any] = ["", "Hi", "Hi\n", "\tHi", "Hi\r\nBcc: x@y.test", "\x7f", "x" * 998, "x" * 999, "\x85", "\u2028", "Größe 😀", "{{name}}", "\0", None, 7, ["x"]]  # fmt: skip
BODIES: list[Any] = [None, "", "text", "a\0b", "\n", 7, ["x"]]
DATA: list[Any] = [None, {}, {"a": [1, "x", {}]}, {"a\0": 1}, {"a": "b\0"}, {"a": ["\0"]}, {"a": [{"b": {"c\0": 1}}]}, {"a": {"b": "\0"}},
        {"a": 2**63}, {"a": -(2**63)}, [], "{}", 7, {"a": 1e300}, {"": None}]  # fmt: skip
NAMES: list[Any] = ["X-A", "x-a\n", "subject", "Content-Type", "CONTENT-", "content", "X-Content-", "Sender", "senders", "From", "FROM ", "X A", "X:A", "", "x" * 76, "x" * 77, "DKIM-Signature", "é"]  # fmt: skip
HEADERS: list[Any] = [
    None,
    [],
    "x",
    *({name: "b"} for name in NAMES),
    *({"X-A": line} for line in LINES),
]
IDS: list[Any] = [
    None,
    "",
    "logo",
    "<logo>",
    "<logo",
    "a b",
    "<>",
    "x" * 128,
    "x" * 129,
    "logo\n",
    "é",
    7,
    [],
]
WRONG: dict[str, list[Any]] = {
    "filename": ["", None, "a\n", "x" * 255, "x" * 256, "é\x9f", "\u2029", 7, []],
    "content": ["", "aGk=", "aGk", "aG\nk=\n", "aGk=\r", "aGk=\r\n", "*", "é", "aG k=", [], [0, 255], [256], [-1], [1.0], [1.5], ["a"], None, 7, {}],
    "content_type": [None, "text/plain", "a/b; c=d", 'a/b;c="d e"', "Multipart/mixed", "a", "", "a/b\n", "a/" + "z" * 253, "a/" + "z" * 254, 7],
    "content_id": IDS,
    "inline_content_id": IDS,
    "path": [None, "http://x", "", 7],
    "other": [7],
}  # fmt: skip
FILE_PART: dict[str, Any] = {"filename": "a.txt", "content": "aGk="}
ATTACHMENTS: list[Any] = [
    FILE_PART,
    {"filename": "a.txt"},
    {"content": "aGk="},
    7,
    *(FILE_PART | {k: v} for k, values in WRONG.items() for v in values),
    *(FILE_PART | {"content_id": a, "inline_content_id": b} for a in IDS for b in IDS),
]
TAGS: list[Any] = ["a", "a-B_9", "a\n", "", "é", "a b", "x" * 256, "x" * 257, None, 7]
TEMPLATES: list[Any] = [
    None,
    {},
    "welcome",
    [],
    *({"id": i} for i in ["welcome", "", "x" * 100, "x" * 101, "a\nb", "\u2003", "\x9f", None, 7]),
    *({"id": "a", "version": v} for v in [None, 1, 0, -1, 1.0, 1.5, 2**31 - 1, 2**31, True, "1"]),
    *({"id": "a", "variables": data} for data in DATA),
]
# Field -> values at and over its edges.
NEAR: dict[str, list[Any]] = {
    "from": [*ADDRESSES, ["a@acme.test"]],
    "to": [*ADDRESSES, *LISTS],
    "cc": [*ADDRESSES, *LISTS],
    "bcc": [*ADDRESSES, *LISTS],
    "reply_to": [*ADDRESSES, *LISTS],
    "subject": LINES,
    "html": BODIES,
    "text": BODIES,
    "headers": HEADERS,
    "attachments": [None, [], {}, "x", *([one] for one in ATTACHMENTS), [FILE_PART, None]],
    "tags": [
        None, [], {}, "x", [None], ["x"], [{}], [{"name": "a"}], [{"value": "a"}],
        *([{"name": tag, "value": "a"}] for tag in TAGS),
        *([{"name": "a", "value": tag}] for tag in TAGS),
        *([{"name": f"n{i}", "value": "a"} for i in range(count)] for count in (50, 51)),
    ],
    "scheduled_at": [None, "2026-11-24", "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "in 1 min", 7],
    "template": TEMPLATES,
    "data": DATA,
    "stream": [None, "transactional", "marketing", "other", "", "transactional\n", 7],
    "give_up_after": [None, "1m", "7d", "59s", "8d", "5", "5m\n", "1h30m", "x5m", "9999999999d", "", "٣m", 7],
    "topic_id": [7],
}  # fmt: skip
GOOD: dict[str, Any] = {"from": "a@acme.test", "to": "b@b.test", "subject": "s", "text": "t"}
BARE: dict[str, Any] = {"from": "a@acme.test", "to": "b@b.test", "subject": "s"}
OF_TEMPLATE: dict[str, Any] = {
    "from": "a@acme.test",
    "to": "b@b.test",
    "template": {"id": "welcome"},
}
BASES = [GOOD, BARE, BARE | {"html": "h"}, GOOD | {"html": "h"}, OF_TEMPLATE,
         OF_TEMPLATE | {"template": {"id": "a", "variables": {}}}]  # fmt: skip
CHANGES = st.lists(
    st.sampled_from(sorted(NEAR)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.one_of(st.sampled_from(NEAR[name]), FIELDS.get(name, st.none())),
        )
    ),
    min_size=1,
    max_size=4,
)


def test_the_schema_is_one_of_2020_12_and_the_file_is_that_of_the_code():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert FILE.read_text() == submission_schema.text(), "run make docs"


@pytest.mark.parametrize("field", NEAR)
def test_they_agree_on_each_field_at_its_edges(field):
    for value in NEAR[field]:
        for base in BASES:
            assert_agreed(base | {field: value})


@pytest.mark.parametrize("left_out", ["from", "to", "subject", "text", "template"])
def test_they_agree_on_what_must_be_there(left_out):
    for base in BASES:
        assert_agreed({k: v for k, v in base.items() if k != left_out})
        assert_agreed(base | {left_out: None})


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from([*BASES, {}]), CHANGES)
@example(GOOD, [("text", None), ("html", "h")])
def test_what_the_schema_accepts_the_code_accepts_and_the_other_way_round(base, changes):
    value = base | dict(changes)
    if is_json(value):
        assert_agreed(value)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_they_agree_on_any_object_too(value):
    if is_json(value):
        assert_agreed(value)


@pytest.mark.parametrize("value", [None, [], "text", 7, True, [GOOD]])
def test_they_agree_that_anything_else_is_no_email(value):
    assert not VALIDATOR.is_valid(value)
    assert refusal(value)


BROKEN: dict[str, dict[str, Any]] = {
    "size": {"text": "x" * 1_000_000},
    "addresses": {"to": "ada@localhost"},
    "recipients": {"to": ["a@b.test"] * 40, "cc": ["a@b.test"] * 11},
    "long words": {"headers": {"X-A": "x" * 901}},
    "base64": {"attachments": [{"filename": "a", "content": "aGk"}]},
    "tag names": {"tags": [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]},
    "template names": {"template": {"id": "a\u2028b"[:1] + "\u3000b"}, "text": None, "subject": None},
    "data depth": {"data": {"a": json.loads("[" * 70 + "]" * 70)}},
    "data numbers": {"data": {"a": 2**63}},
    "whole numbers": {"attachments": [{"filename": "a", "content": [1.0]}]},
    "durations": {"give_up_after": "59s"},
    "times": {"scheduled_at": "tomorrow"},
    "streams": {"stream": "marketing"},
}  # fmt: skip


@pytest.mark.parametrize("rule", BEYOND)
def test_each_rule_that_the_schema_does_not_have_is_one_of_the_code_and_told_in_the_schema(rule):
    value = GOOD | BROKEN[rule]
    VALIDATOR.validate(value)
    error = refusal(value)
    assert error
    assert rule_of(error) == rule
    assert BEYOND[rule] in SCHEMA["description"]
    assert set(SAID) == set(BEYOND)


@pytest.mark.parametrize("value", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_schema_are_accepted_by_both(value):
    VALIDATOR.validate(value)
    assert refusal(value) is None


def test_every_field_of_resends_libraries_is_in_the_schema():
    email = {"from", "to", "subject", "cc", "bcc", "reply_to", "html", "text", "headers", "scheduled_at",
             "tags", "template", "attachments"}  # fmt: skip
    attachment = {"content", "filename", "path", "content_type", "content_id", "inline_content_id"}
    parts = SCHEMA["$defs"]
    assert email <= set(SCHEMA["properties"])
    assert attachment <= set(parts["AttachmentJson"]["properties"])
    assert {"id", "variables"} <= set(parts["TemplateJson"]["properties"])
    assert set(parts["TagJson"]["properties"]) == {"name", "value"}


def test_every_field_says_what_it_means_or_is_like_the_one_before():
    undescribed = {k for k, v in SCHEMA["properties"].items() if "description" not in v}
    assert undescribed <= {"cc", "reply_to"}


def test_the_patterns_are_read_by_javascript_as_well():
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', FILE.read_text())
    assert len(patterns) > 10
    program = f"for (const p of [{','.join(patterns)}]) new RegExp(p, 'u')"
    subprocess.run(["node", "-e", program], check=True, timeout=60)
