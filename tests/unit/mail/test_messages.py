"""Messages as receivers see them: parsed by Python, verified by dkimpy."""

import base64
import email
import email.policy
from email.message import EmailMessage

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwax.mail.dkim import sign_messages, signer
from sealwax.mail.mime import compose_messages
from sealwax.mail.render import render_templates
from sealwax.model.tenant import SigningKey
from sealwax.native import Draft, ItemError

RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def der(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def look_up(name: bytes, timeout: int = 5) -> bytes:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if name.startswith(b"r1."):
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(RSA.public_key().public_bytes(*form))
    raw = ED25519.public_key().public_bytes_raw()
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)


SIGNER = signer(
    "acme.test",
    [SigningKey("r1", "rsa", der(RSA)), SigningKey("e1", "ed25519", der(ED25519))],
)


def draft(**changes: object) -> Draft:
    fields: dict[str, object] = {
        "email_id": "01a20d1f-3219-7ca5-bdf1-be0377851f6e",
        "date_ms": 1_795_000_000_000,
        "author": ("Acme", "hello@acme.test"),
        "to": [("Ada", "ada@example.test")],
        "cc": [],
        "reply_to": [],
        "subject": "Hi",
        "html": "<p>Hello</p>",
        "text": None,
        "headers": [],
        "attachments": [],
        "message_ids": ["1@acme.test"],
    }
    return Draft(**{**fields, **changes})  # type: ignore[arg-type]  # built from a dict


def composed(**changes: object) -> bytes:
    (copies,) = compose_messages([draft(**changes)])
    assert isinstance(copies, list), copies
    return copies[0]


def parsed(raw: bytes) -> EmailMessage:
    assert raw.isascii()
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    message = email.message_from_bytes(raw, policy=email.policy.default)
    defects = [d for part in message.walk() for d in part.defects]
    defects += [d for value in message.values() for d in value.defects]
    assert not defects
    assert isinstance(message, EmailMessage)
    return message


def verified(raw: bytes) -> bytes:
    (signed,) = sign_messages([(raw, SIGNER, 1_795_000_000)])
    assert isinstance(signed, bytes)
    for index in range(2):
        assert dkim.DKIM(signed).verify(index, dnsfunc=look_up)
    return signed


def test_html_gets_a_text_part_with_its_links():
    message = parsed(composed(html='<p>See <a href="https://a.test/x">this</a></p>'))
    assert message.get_content_type() == "multipart/alternative"
    text = message.get_body(("plain",))
    assert text is not None
    assert "https://a.test/x" in text.get_content()


def test_text_alone_stays_alone():
    message = parsed(composed(html=None, text="Grüße\n.\nlast"))
    assert message.get_content_type() == "text/plain"
    assert message.get_content().splitlines() == ["Grüße", ".", "last"]


@pytest.mark.parametrize("content", [b"", b"a\nb\r\nc\r", bytes(range(256)) * 300, b"\n" * 500])
@pytest.mark.parametrize(
    "name", ["a.txt", "Rechnung März 2026 – Größe.pdf", 'x"y\\z.bin', "n" * 200]
)
def test_attachments_arrive_unchanged_under_their_names(content, name):
    files = [(name, "text/plain", "", content), ("i.png", "image/png", "logo", content)]
    message = parsed(verified(composed(attachments=files)))
    found = {part.get_filename() or part["Content-ID"]: part for part in message.walk()}
    assert found[name].get_payload(decode=True) == content
    inline = next(p for p in message.walk() if p["Content-ID"] == "<logo>")
    assert inline.get_payload(decode=True) == content


@settings(max_examples=60, deadline=None)
@given(
    subject=st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=150
    ),
    name=st.text("aÄ😀 ,\"\\.'()<>@", max_size=60),
)
def test_any_subject_and_display_name_come_back(subject, name):
    message = parsed(verified(composed(subject=subject.strip(), to=[(name.strip(), "a@b.test")])))
    assert message["Subject"] == subject.strip()
    assert message["To"].addresses[0].addr_spec == "a@b.test"
    assert " ".join(message["To"].addresses[0].display_name.split()) == " ".join(name.split())


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("a \t\n.=ü"), max_size=300))
def test_any_body_is_signed_so_that_it_verifies(text):
    verified(composed(html=None, text=text or " "))


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"subject": "a\r\nBcc: x@y.test"}, "bad_header", "subject"),
        ({"author": ("a\nb", "a@acme.test")}, "bad_header", "from"),
        ({"headers": [("X-A", "1\n2")]}, "bad_header", "headers"),
        ({"headers": [("X A", "1")]}, "bad_header", "headers"),
        ({"headers": [("Bcc", "x@y.test")]}, "reserved_header", "headers"),
        ({"attachments": [("a\r\nb", "text/plain", "", b"")]}, "bad_header", "attachments[0]"),
        ({"html": None}, "no_body", "html"),
    ],
)
def test_what_no_message_may_hold_is_refused_and_harms_no_other(changes, code, field):
    bad, good = compose_messages([draft(**changes), draft()])
    assert isinstance(bad, ItemError)
    assert (bad.code, bad.field) == (code, field)
    assert isinstance(good, list)


def test_the_same_draft_makes_the_same_bytes():
    assert verified(composed()) == verified(composed())


def test_a_header_that_was_added_later_breaks_the_signature():
    signed = verified(composed())
    forged = signed.replace(b"Subject: Hi\r\n", b"Subject: Hi\r\nSubject: Ho\r\n")
    assert not dkim.DKIM(forged).verify(0, dnsfunc=look_up)


@pytest.mark.parametrize(
    ("job", "code", "field", "named"),
    [
        (("Hi {{user.name}}", None, None, b"{}"), "missing_variable", "subject", "user.name"),
        ((None, "{{#if a}}", None, b"{}"), "template_syntax", "html", "html"),
        ((None, None, "x", b"[1]"), "bad_data", "data", "object"),
        ((None, None, "x", b"{"), "bad_data", "data", "JSON"),
    ],
)
def test_a_template_that_fails_says_what_and_where(job, code, field, named):
    bad, good = render_templates([job, ("{{a}}", "{{a}}", "{{a}}", b'{"a": "<&>"}')])
    assert isinstance(bad, ItemError)
    assert (bad.code, bad.field) == (code, field)
    assert named in bad.message
    assert good == ("<&>", "&lt;&amp;&gt;", "<&>")


def test_a_key_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="r1"):
        signer("acme.test", [SigningKey("r1", "rsa", der(ED25519))])
