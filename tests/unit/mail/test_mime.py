"""What a composed message looks like to strict readers, and what is refused."""

import email
import email.policy
import re
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwax.mail.mime import compose_messages
from sealwax.native import ItemError
from tests.unit.mail.test_messages import composed, draft, parsed, verified

NEWSLETTER = """<!doctype html><html><head><title>News</title><style>a{color:red}</style></head>
<body><table><tr><td><table><tr><td><a href="https://acme.test/{long}?a=1&amp;b=2">
<img src="x.png" alt="Acme"></a></td><td><h1>Größe &amp; more</h1></td></tr></table></td></tr>
<tr><td>Dear Ada,<br>thanks.<ul><li>one<li>two</ul></td></tr></table></body></html>"""


def strict(raw: bytes) -> EmailMessage:
    """Parsed by a reader that raises at the first defect."""
    parsed(raw)
    message = email.message_from_bytes(raw, policy=email.policy.strict)
    assert isinstance(message, EmailMessage)
    assert [str(value) for value in message.values()]
    return message


def refused(**changes: object) -> ItemError:
    bad, good = compose_messages([draft(**changes), draft()])
    assert isinstance(good, list)
    assert isinstance(bad, ItemError), bad
    return bad


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    """A body as it arrives, with the line ends of Unix."""
    part = message.get_body((kind,))
    assert part is not None
    arrived = part.get_payload(decode=True)
    assert isinstance(arrived, bytes)
    assert b"\n" not in arrived.replace(b"\r\n", b"")
    return arrived.decode().replace("\r\n", "\n")


def shape(message: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in message.walk()]


def test_the_header_has_its_order_and_no_bcc():
    raw = composed(
        cc=[("", "c@b.test")],
        reply_to=[("", "r@b.test")],
        headers=[("X-Order", "7"), ("List-Unsubscribe", "<https://acme.test/u>")],
    )
    assert list(strict(raw).keys()) == [
        "Date", "From", "To", "Cc", "Reply-To", "Subject", "Message-ID", "MIME-Version",
        "X-Sealwax-Id", "X-Order", "List-Unsubscribe", "Content-Type",
    ]  # fmt: skip


def test_the_text_comes_before_the_html():
    message = strict(composed(text="Hello"))
    assert shape(message) == ["multipart/alternative", "text/plain", "text/html"]


def test_files_stand_beside_the_bodies_and_inline_files_with_the_html():
    files = [("a.pdf", "application/pdf", "", b"a"), ("i.png", "image/png", "logo@acme", b"i")]
    message = strict(composed(attachments=files))
    assert shape(message) == [
        "multipart/mixed", "multipart/related", "multipart/alternative", "text/plain", "text/html",
        "image/png", "application/pdf",
    ]  # fmt: skip
    image, pdf = list(message.walk())[-2:]
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo@acme>", "inline")
    assert (pdf["Content-ID"], pdf.get_content_disposition()) == (None, "attachment")


@pytest.mark.parametrize("kind", ["message/rfc822", "multipart/mixed; boundary=x", ""])
def test_a_file_that_is_a_message_arrives_unchanged(kind):
    content = b"Subject: x\n\nbody\n"
    message = strict(composed(attachments=[("x.eml", kind, "", content)]))
    (file,) = message.iter_attachments()
    assert file.get_content_type() == "application/octet-stream"
    assert file.get_payload(decode=True) == content


def test_the_copies_differ_in_their_message_id_alone():
    (copies,) = compose_messages([draft(message_ids=["1@acme.test", "2@acme.test"])])
    assert isinstance(copies, list)
    first, second = copies
    assert first.replace(b"<1@acme.test>", b"<2@acme.test>") == second
    assert len({strict(copy)["Message-ID"] for copy in copies}) == 2


def test_the_text_of_a_newsletter_keeps_its_links_whole():
    html = NEWSLETTER.replace("{long}", "x" * 300)
    message = strict(verified(composed(html=html)))
    assert text_of(message).split("\n\n") == [
        f"Acme <https://acme.test/{'x' * 300}?a=1&b=2>",
        "Größe & more",
        "Dear Ada,\nthanks.",
        "* one\n* two",
    ]


def test_no_body_holds_a_boundary():
    text = "\n".join(
        f"--=_alternative_01a20d1f-3219-7ca5-bdf1-be0377851f6e{'_' * n}" for n in (0, 1)
    )
    message = strict(composed(text=text))
    assert shape(message) == ["multipart/alternative", "text/plain", "text/html"]
    assert text_of(message) == text


@settings(max_examples=150, deadline=None)
@given(
    text=st.lists(st.sampled_from(["a", "word ", " ", "\t", "\n", "\r\n", ".", "=", "ü", "😀",
                                   "From ", "x" * 90, "--", "\x01"]), max_size=80).map("".join),
    html=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=200),
)  # fmt: skip
def test_bodies_come_back_as_they_were(text, html):
    message = strict(verified(composed(text=text, html=html)))
    assert text_of(message, "plain") == text.replace("\r\n", "\n")
    assert text_of(message, "html") == html


@settings(max_examples=150, deadline=None)
@given(
    subject=st.lists(st.sampled_from(["word", "x" * 200, " ", "ü", "😀", "=?", '"', "\t"])).map(
        "".join
    ),
    names=st.lists(st.sampled_from(["Ada", "Zoë", "Last, First", "n" * 200, "q " * 90, "=?x?="])),
    filename=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120),
)
def test_header_lines_are_short_and_encoded_words_within_their_limit(subject, names, filename):
    raw = composed(
        subject=subject,
        to=[(name, f"a{i}@b.test") for i, name in enumerate(names)],
        attachments=[(filename, "text/csv; header=present", "", b"a,b\n")],
    )
    head, _, rest = raw.partition(b"\r\n\r\n")
    part_heads = re.findall(rb"Content-Disposition:[^\r]*(?:\r\n[ \t][^\r]*)*", rest)
    for line in [*head.split(b"\r\n"), *(line for p in part_heads for line in p.split(b"\r\n"))]:
        assert len(line) <= 78, line
    for word in re.findall(rb"=\?utf-8\?B\?[^?]*\?=", raw):
        assert len(word) <= 75
    message = strict(verified(raw))
    assert len(message["To"].addresses if names else []) == len(names)
    (file,) = message.iter_attachments()
    assert (file.get_filename() or "") == filename.strip()  # as that parser reads any name


@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda bad: {"author": (bad, "a@acme.test")}, "from"),
        (lambda bad: {"author": ("", f"a{bad}@acme.test")}, "from"),
        (lambda bad: {"to": [("", "a@b.test"), (bad, "a@b.test")]}, "to"),
        (lambda bad: {"to": [("", f"a@b.test{bad}")]}, "to"),
        (lambda bad: {"cc": [(bad, "a@b.test")]}, "cc"),
        (lambda bad: {"reply_to": [(bad, "a@b.test")]}, "reply_to"),
        (lambda bad: {"subject": f"Hi{bad}Bcc: x@y.test"}, "subject"),
        (lambda bad: {"email_id": f"id{bad}"}, "email_id"),
        (lambda bad: {"message_ids": [f"1@acme.test{bad}"]}, "message_id"),
        (lambda bad: {"headers": [(f"X-A{bad}", "1")]}, "headers"),
        (lambda bad: {"headers": [("X-A", f"1{bad}")]}, "headers"),
        (lambda bad: {"attachments": [(f"a{bad}", "text/plain", "", b"")]}, "attachments[0]"),
        (lambda bad: {"attachments": [("a", f"text/plain{bad}", "", b"")]}, "attachments[0]"),
        (lambda bad: {"attachments": [("a", "text/plain", f"c{bad}", b"")]}, "attachments[0]"),
    ],
)
def test_no_field_lets_a_line_in(character, change, field):
    error = refused(**change(character))
    assert (error.code, error.field) == ("bad_header", field)
    assert error.message


@pytest.mark.parametrize(
    "name",
    ["From", "to", "CC", "Bcc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Foo",
     "DKIM-Signature", "Received", "Return-Path", "X-Sealwax-Id", "Sender", "Reply-To"],
)  # fmt: skip
def test_a_header_that_stands_once_is_not_the_senders(name):
    error = refused(headers=[("X-A", "1"), (name, "x")])
    assert (error.code, error.field) == ("reserved_header", "headers")
    assert name in error.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"headers": [("", "1")]}, "headers"),
        ({"headers": [("X:A", "1")]}, "headers"),
        ({"headers": [("X-Ä", "1")]}, "headers"),
        ({"headers": [("X-A", "x" * 2_000)]}, "headers"),
        ({"headers": [("X-A", "a" + " " * 2_000 + "b")]}, "headers"),
        ({"headers": [("List-Unsubscribe", "<https://acme.test/ü>")]}, "headers"),
        ({"to": [("", "x" * 2_000 + "@b.test")]}, "to"),
        ({"to": [("", "ü@b.test")]}, "to"),
        ({"to": [("", "a@b.test>, <c@d.test")]}, "to"),
        ({"cc": [("", "a@b.test,c@d.test")]}, "cc"),
        ({"message_ids": [""]}, "message_id"),
        ({"email_id": "a" * 51}, "email_id"),
        ({"date_ms": -1}, "date"),
        ({"date_ms": 2**62}, "date"),
        ({"attachments": [("a", "pdf", "", b"")]}, "attachments[0]"),
    ],
)
def test_what_does_not_fit_a_header_is_refused(changes, field):
    error = refused(**changes)
    assert (error.code, error.field) == ("bad_header", field)


def test_a_text_without_spaces_is_a_subject_and_a_name_all_the_same():
    message = strict(verified(composed(subject="x" * 2_000, to=[("y" * 2_000, "a@b.test")])))
    assert message["Subject"] == "x" * 2_000
    # Python puts a space between encoded words of a display name.
    assert message["To"].addresses[0].display_name.replace(" ", "") == "y" * 2_000
