"""Reading mailbox addresses."""

import pytest

from sealwax.errors import SealwaxError
from sealwax.model.address import AddressError, Mailbox, a_label_domain, parse_mailbox

LONG_DOMAIN = ".".join(["a" * 61] * 4) + ".test"  # 252 octets


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("a@b.c", Mailbox("", "a", "b.c")),
        ("Ada.Lovelace+x@EXAMPLE.Test", Mailbox("", "Ada.Lovelace+x", "example.test")),
        ("Ada <ada@example.test>", Mailbox("Ada", "ada", "example.test")),
        ("Ada<ada@example.test>", Mailbox("Ada", "ada", "example.test")),
        ("<ada@example.test>", Mailbox("", "ada", "example.test")),
        ('"Lovelace, Ada" <ada@example.test>', Mailbox("Lovelace, Ada", "ada", "example.test")),
        (r'"A \"B\" \\C" <a@b.test>', Mailbox(r'A "B" \C', "a", "b.test")),
        ('"" <a@b.test>', Mailbox("", "a", "b.test")),
        ('"<x@y.z>" <a@b.test>', Mailbox("<x@y.z>", "a", "b.test")),
        ("Dr. O'Neil-Müller <o'neil@b.test>", Mailbox("Dr. O'Neil-Müller", "o'neil", "b.test")),
        ("👩‍💻 团队 <a@b.test>", Mailbox("👩‍💻 团队", "a", "b.test")),
        ("a@bücher.example", Mailbox("", "a", "xn--bcher-kva.example")),
        ("a@BÜCHER。example", Mailbox("", "a", "xn--bcher-kva.example")),
        ("a@straße.example", Mailbox("", "a", "xn--strae-oqa.example")),
        ("a@xn--bcher-kva.EXAMPLE", Mailbox("", "a", "xn--bcher-kva.example")),
        ("a@пример.рф", Mailbox("", "a", "xn--e1afmkfd.xn--p1ai")),
        ("!#$%&'*+-/=?^_`{|}~@b.test", Mailbox("", "!#$%&'*+-/=?^_`{|}~", "b.test")),
        ('"john doe"@b.test', Mailbox("", '"john doe"', "b.test")),
        ('"john..doe"@b.test', Mailbox("", '"john..doe"', "b.test")),
        ('"john.doe"@b.test', Mailbox("", "john.doe", "b.test")),
        ('J <"john doe"@b.test>', Mailbox("J", '"john doe"', "b.test")),
        ("a@r3---sn-abc.test", Mailbox("", "a", "r3---sn-abc.test")),
        ("a@1.2.3.de", Mailbox("", "a", "1.2.3.de")),
        ("x" * 64 + "@b.test", Mailbox("", "x" * 64, "b.test")),
        (f"a@{'b' * 63}.test", Mailbox("", "a", "b" * 63 + ".test")),
        (f"a@{LONG_DOMAIN}", Mailbox("", "a", LONG_DOMAIN)),
    ],
)
def test_what_is_an_address(text, mailbox):
    assert parse_mailbox(text) == mailbox
    assert parse_mailbox(str(mailbox)) == mailbox
    assert mailbox.address == f"{mailbox.local_part}@{mailbox.domain}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("Ada <>", "is empty"),
        (" ", "no @"),
        ("ada", "no @"),
        ("Ada <ada>", "no @"),
        ("@b.test", "nothing before"),
        ("a@", "no domain"),
        ("a@b@c.test", "more than one @"),
        ("a@b.test, c@d.test", "several addresses"),
        ("a@b.test,c@d.test", "several addresses"),
        ("a@b.test; c@d.test", "several addresses"),
        ("a@b.test,", "several addresses"),
        ("a@b.test, C <c@d.test>", "several addresses"),
        ("A <a@b.test>, C <c@d.test>", "several addresses"),
        ("A <a@b.test> C <c@d.test>", "several addresses"),
        ("a@b.test c@d.test", "several addresses"),
        ("A <a@b.test> c", "after the address"),
        ("A <a@b.test", "after the address"),
        ("a@b.test>", "without a `<`"),
        ("A <<a@b.test>", "not in quotes"),
        ("A <a@b.test>>", "label"),
        ("Lovelace, Ada <a@b.test>", "not in quotes"),
        ('Ada "the" Lovelace <a@b.test>', "not in quotes"),
        ('"Ada <a@b.test>', "not in quotes"),
        ('"a"b" <a@b.test>', "not in quotes"),
        ("a@b.test\r\nBcc: c@d.test", "control character"),
        ("a@b.test\n", "control character"),
        ("a\0@b.test", "control character"),
        ("A\tB <a@b.test>", "control character"),
        ("A\r\n <a@b.test>", "control character"),
        ("A\x85B <a@b.test>", "control character"),
        ("A\u2028B <a@b.test>", "control character"),
        ("A\x7fB <a@b.test>", "control character"),
        ("A\ud800B <a@b.test>", "control character"),
        ("a b@c.test", "space"),
        ("a@b .test", "space"),
        (" a@b.test", "space"),
        ("a@b.test ", "space"),
        ("A < a@b.test>", "space"),
        ("A <a@b.test >", "space"),
        ("x" * 65 + "@b.test", "65 octets; 64"),
        ("a@" + "b" * 64 + ".test", "64 octets; 63"),
        ("a@" + "b." * 126 + "test", "256 octets; 253"),
        ("abc@" + LONG_DOMAIN, "longer than 254"),
        ("a@localhost", "one label"),
        ("a@b.test.", "ends with a dot"),
        ("a@b..test", "two dots"),
        ("a@.test", "two dots"),
        (".a@b.test", "dot"),
        ("a.@b.test", "dot"),
        ("a..b@c.test", "dot"),
        ("a@127.0.0.1", "IP address"),
        ("a@1.2", "IP address"),
        ("a@１２７.0.0.1", "IP address"),
        ("a@[127.0.0.1]", "IP address"),
        ("a@[IPv6:::1]", "IP address"),
        ("a@b.123", "top-level"),
        ("a@-b.test", "label"),
        ("a@b-.test", "label"),
        ("a@b_c.test", "label"),
        ("a@b.te!st", "label"),
        ("a@xn--a.test", "IDNA"),
        ("a@xn--.test", "label"),
        ("a@☃\u200d.test", "IDNA"),
        ("a@ü" + "x" * 63 + ".test", "IDNA"),
        ("a@b＠c.test", "IDNA"),
        ("ä@b.test", "SMTPUTF8"),
        ("用户@b.test", "SMTPUTF8"),
        ('"a@b"@c.test', "more than one @"),
        ('"a<b"@c.test', "after the address"),
        ('"a\\"b"@c.test', "not allowed"),
        ('""@c.test', "not allowed"),
        ("a(comment)@b.test", "not allowed"),
        ("a:b@c.test", "not allowed"),
        ("A <" + "x" * 1000 + "@b.test>", "998 is the most"),
    ],
)
def test_what_is_not_one_address_says_why(text, problem):
    with pytest.raises(AddressError) as error:
        parse_mailbox(text)
    assert problem in error.value.problem
    assert isinstance(error.value, SealwaxError)


def test_a_domain_alone_is_read_by_the_same_rules():
    assert a_label_domain("ACME.Example") == "acme.example"
    for text in ("acme", "acme.example.", "10.0.0.1", "a@b.example", "", "a b.c", "ａ"):
        with pytest.raises(AddressError):
            a_label_domain(text)


def test_mailboxes_are_values():
    assert parse_mailbox("a@B.test") == parse_mailbox("a@b.TEST")
    assert len({parse_mailbox("a@B.test"), parse_mailbox("a@b.TEST")}) == 1
    assert parse_mailbox("A@b.test") != parse_mailbox("a@b.test")
