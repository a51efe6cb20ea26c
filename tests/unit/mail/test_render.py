"""Templates: what they may ask for, and that no template stops the process."""

import json
import threading

import pytest

from sealwax.mail.render import render_templates
from sealwax.native import ItemError


def outcome(html: str, data: object) -> str | ItemError:
    (result,) = render_templates([(None, html, None, json.dumps(data).encode())])
    if isinstance(result, ItemError):
        return result
    assert result[1] is not None
    return result[1]


@pytest.mark.parametrize(
    ("html", "data", "expected"),
    [
        ("{{#if vip}}a{{else}}b{{/if}}", {}, "b"),
        ("{{#if user.vip}}a{{else}}b{{/if}}", {}, "b"),
        ("{{#unless vip}}a{{/unless}}", {}, "a"),
        ("{{#each items}}{{name}} {{else}}none{{/each}}", {}, "none"),
        ("{{#each items}}{{@index}}{{name}} {{/each}}", {"items": [{"name": "x"}]}, "0x "),
        ("{{#if a}}1{{else if b}}2{{else}}3{{/if}}", {"b": True}, "2"),
        ("{{a}}{{{a}}}", {"a": "<&>\"'"}, "&lt;&amp;&gt;&quot;&#x27;<&>\"'"),
        ("{{a}}|{{b}}", {"a": None, "b": 0}, "|0"),
        ("{{log}} {{raw}}", {"log": "a", "raw": "b"}, "a b"),
        ("no tags { {a} }} \\", {}, "no tags { {a} }} \\"),
    ],
)
def test_templates_render(html, data, expected):
    assert outcome(html, data) == expected


@pytest.mark.parametrize("field", ["subject", "html", "text"])
@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("Hello {{user.name}}", "user.name"),
        ("{{#each items}}x{{/each}}", "items"),
        ("{{#with user}}x{{/with}}", "user"),
        ("{{{raw}}}", "raw"),
    ],
)
def test_a_missing_variable_is_named_with_its_field(field, template, named):
    texts = [template if field == name else "fine" for name in ("subject", "html", "text")]
    subject, html, text = texts
    (error,) = render_templates([(subject, html, text, b"{}")])
    assert isinstance(error, ItemError)
    assert (error.code, error.field) == ("missing_variable", field)
    assert named in error.message
    assert field in error.message


@pytest.mark.parametrize(
    ("html", "place"),
    [("a\n{{#if}", "line 2"), ("a\n\n{{name", "line 3"), ("{{#if a}}\n{{/each}}", "line 2")],
)
def test_a_syntax_error_says_its_line(html, place):
    error = outcome(html, {})
    assert isinstance(error, ItemError)
    assert (error.code, error.field) == ("template_syntax", "html")
    assert place in error.message


# Each of these ended the process by its stack, or held it for minutes, with handlebars alone.
@pytest.mark.parametrize(
    ("html", "code"),
    [
        ('{{#*inline "a"}}{{> b}}{{/inline}}{{#*inline "b"}}{{> a}}{{/inline}}{{> a}}',
         "template_syntax"),
        ("{{#if a}}" * 2_000 + "{{/if}}" * 2_000, "template_syntax"),
        ("{{#if a}}" * 60_000 + "{{/if}}" * 60_000, "too_large"),
        ("{{#if b}}" + "{{else if b}}" * 3_000 + "{{/if}}", "template_syntax"),
        ("{{len " + "(len " * 100_000 + "a" + ")" * 100_000 + "}}", "template_syntax"),
        ("{{len " + "[" * 200_000 + "]" * 200_000 + "}}", "template_syntax"),
        ("{{a}} " * 150_000, "too_large"),
        ("{{#each a}}{{#each ../a}}{{#each ../../a}}{{/each}}{{/each}}{{/each}}", "too_large"),
        ("{{#each a}}" + "x" * 1_000 + "{{/each}}", "too_large"),
        ("x" * 2_000_000 + "{{a}}", "too_large"),
    ],
    ids=range(10),
)  # fmt: skip
def test_no_template_ends_or_holds_up_the_process(html, code):
    found: list[str | ItemError] = []
    # The main thread's stack is larger than that of the threads that flows run in.
    previous = threading.stack_size(1024 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(outcome(html, {"a": [1] * 10_000})))
        thread.start()
    finally:
        threading.stack_size(previous)
    thread.join(timeout=30)
    (error,) = found
    assert isinstance(error, ItemError)
    assert error.code == code
    assert len(error.message) < 600


def test_a_long_template_with_many_blocks_side_by_side_renders():
    html = "<td style='color: rgb(1, 2, 3)'>{{#if a}}{{a}}{{/if}}</td>\n" * 600
    assert outcome(html, {"a": 1}) == "<td style='color: rgb(1, 2, 3)'>1</td>\n" * 600


def test_one_bad_job_harms_no_other():
    good = ("{{a}}", None, None, b'{"a": 1}')
    bad = ("{{b}}", None, None, b'{"a": 1}')
    first, middle, last = render_templates([good, bad, good])
    assert first == last == ("1", None, None)
    assert isinstance(middle, ItemError)


@pytest.mark.parametrize("data", [b"[]", b"1", b"", b"\xff", b"[" * 10_000, b'{"a": NaN}'])
def test_data_that_is_no_json_object_is_refused(data):
    (error,) = render_templates([("x", None, None, data)])
    assert isinstance(error, ItemError)
    assert (error.code, error.field) == ("bad_data", "data")
