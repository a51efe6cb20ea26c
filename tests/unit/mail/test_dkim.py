"""Signatures as dkimpy verifies them, whatever the message is."""

import re
import threading

import dkim
import pytest

from sealwax.mail.dkim import sign_messages, signer
from sealwax.model.tenant import SigningKey
from sealwax.native import ItemError, Signer
from tests.unit.mail.test_messages import ED25519, RSA, SIGNER, composed, der, look_up, verified

T = 1_795_000_000
KEYS = {
    "rsa": SigningKey("r1", "rsa", der(RSA)),
    "ed25519": SigningKey("e1", "ed25519", der(ED25519)),
}
HEAD = b"From: a@acme.test\r\nTo: b@b.test\r\nSubject:  Odd \t one\r\n\tfolded \r\n\r\n"


def signed(raw: bytes, keys: Signer = SIGNER) -> bytes:
    (result,) = sign_messages([(raw, keys, T)])
    assert isinstance(result, bytes), result
    return result


def tags(raw: bytes, index: int = 0) -> dict[str, str]:
    """The tags of a signature, without white space."""
    fields = re.findall(rb"DKIM-Signature:((?:[^\r]|\r\n[ \t])*)\r\n", raw)
    text = re.sub(r"\s+", "", fields[index].decode())
    return dict(tag.split("=", 1) for tag in text.split(";"))


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n\r\n",
        b"one",
        b"one\r\n\r\n\r\n\r\n",
        b"  one \t two  \r\n\t\r\n \t \r\nthree \r\n  \r\n",
        b"x" * 5_000 + b"\r\n" + b" " * 3_000 + b"y\r\n",
        "Grüße, 😀\r\n".encode() * 50,
        b".\r\n..\r\n",
        b" \r\n \r\n",
        bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n",
    ],
)
def test_any_body_verifies_with_either_algorithm(algorithm, body):
    raw = signed(HEAD + body, signer("acme.test", [KEYS[algorithm]]))
    assert raw.endswith(HEAD + body)
    assert tags(raw)["a"] == f"{algorithm}-sha256"
    assert dkim.DKIM(raw).verify(0, dnsfunc=look_up)


def test_the_signatures_stand_in_front_in_the_order_of_the_keys():
    raw = composed()
    for order in (("rsa", "ed25519"), ("ed25519", "rsa")):
        keys = signer("acme.test", [KEYS[name] for name in order])
        done = signed(raw, keys)
        assert done.endswith(raw)
        assert [tags(done, i)["s"] for i in range(2)] == [KEYS[name].selector for name in order]
        assert all(dkim.DKIM(done).verify(i, dnsfunc=look_up) for i in range(2))


def test_what_is_signed_and_that_three_headers_are_signed_once_more():
    raw = composed(
        cc=[("", "c@b.test")],
        reply_to=[("", "r@b.test")],
        headers=[
            ("List-Unsubscribe", "<https://acme.test/u>, <mailto:u@acme.test>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("Feedback-ID", "1:2:3:acme"),
            ("X-Other", "not signed"),
        ],
    )
    found = tags(verified(raw))
    assert found["h"].split(":") == [
        "From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version",
        "Content-Type", "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID", "X-Sealwax-Id",
        "From", "To", "Subject",
    ]  # fmt: skip
    assert (found["v"], found["c"], found["d"], found["t"]) == (
        "1", "relaxed/relaxed", "acme.test", str(T),
    )  # fmt: skip
    text_alone = tags(verified(composed(html=None, text="x")))
    assert "Content-Transfer-Encoding" in text_alone["h"].split(":")


@pytest.mark.parametrize("added", [b"From: x@y.test", b"To: x@y.test", b"Subject: x"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_second_header_of_its_kind_breaks_each_signature(added, place):
    raw = verified(composed())
    if place == "first":
        forged = added + b"\r\n" + raw
    else:
        forged = raw.replace(b"Content-Type: multipart", added + b"\r\nContent-Type: multipart", 1)
    assert not any(dkim.DKIM(forged).verify(i, dnsfunc=look_up) for i in range(2))


def test_a_bcc_only_message_cannot_be_given_a_to():
    raw = verified(composed(to=[]))
    assert not dkim.DKIM(b"To: x@y.test\r\n" + raw).verify(0, dnsfunc=look_up)


def test_the_same_message_and_second_make_the_same_signature():
    raw = composed()
    assert signed(raw) == signed(raw)
    (later,) = sign_messages([(raw, SIGNER, T + 1)])
    assert isinstance(later, bytes)
    assert tags(later)["t"] == str(T + 1)


def test_signatures_are_folded():
    raw = signed(composed(), signer(f"{'d' * 60}.{'e' * 60}.test", [*KEYS.values()]))
    head = raw.split(b"From:")[0]
    for line in head.split(b"\r\n"):
        assert len(line) <= (78 if b"d=" not in line else 998)


@pytest.mark.parametrize("bad", [b"", b"no header", b"From: a@b.test\r\n", b"From: a\n\nb"])
def test_a_message_without_a_header_section_is_refused_and_harms_no_other(bad):
    error, good = sign_messages([(bad, SIGNER, T), (composed(), SIGNER, T)])
    assert isinstance(error, ItemError)
    assert error.code == "bad_message"
    assert isinstance(good, bytes)


def test_a_time_before_1970_is_refused():
    (error,) = sign_messages([(composed(), SIGNER, -1)])
    assert isinstance(error, ItemError)
    assert error.code == "bad_time"


@pytest.mark.parametrize(
    ("domain", "keys", "why"),
    [
        ("acme.test", [], "no key"),
        ("acme.test", [SigningKey("r1", "rsa", b"junk")], "r1"),
        ("acme.test", [SigningKey("e1", "ed25519", der(RSA))], "e1"),
        ("acme.test; l=0", [KEYS["rsa"]], "DNS"),
        ("acme.test", [SigningKey("r1;\r\n", "rsa", der(RSA))], "DNS"),
    ],
)
def test_keys_that_cannot_sign_are_refused(domain, keys, why):
    with pytest.raises(ValueError, match=why):
        signer(domain, keys)


def test_other_threads_run_while_a_batch_is_signed():
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1

    counter = threading.Thread(target=count)
    jobs = [(composed(), SIGNER, T)] * 1_000
    counter.start()
    before = counted
    sign_messages(jobs)
    during = counted - before
    done.set()
    counter.join()
    assert during > 10_000
