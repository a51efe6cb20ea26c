"""What holds for every text that is read as an address."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from sealwax.model.address import AddressError, Mailbox, parse_mailbox

PIECES = st.sampled_from(
    ["a", "b.c", "@", "<", ">", '"', "\\", ",", ";", " ", ".", "-", "ü", "xn--", "[", "]", "1", "\r", "\n",
     "\0", "\t", "(", ")", ":", "。", "＠", "\u200d", "\u3000", "ß", "example.test", "a@b.test", "<a@b.test>"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=12).map("".join),
    st.builds("{}<{}@{}>".format, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)),
    st.builds("{}@{}.test".format, st.text('ab.+" ', max_size=9), st.text(max_size=12)),
    st.builds('"{}" <a@b.test>'.format, st.text(max_size=20)),
)
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)
ATOMS = st.text("abcXYZ019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=12)
LOCAL_PARTS = st.lists(ATOMS, min_size=1, max_size=4).map(".".join)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.startswith("xn--")
)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "test"]))


def parsed(text):
    try:
        return parse_mailbox(text)
    except AddressError:
        return None


@given(TEXTS)
@example("a@b.test\x00")
@example('" a " <a@b.test>')
def test_any_text_is_one_safe_address_or_an_address_error(text):
    mailbox = parsed(text)
    if mailbox is None:
        return
    assert not re.search(r"[\x00-\x1f\x7f]", mailbox.name)
    assert mailbox.address.isascii()
    assert mailbox.address.isprintable()
    outside_quotes = re.sub(r'^"[^"]*"', "", mailbox.address)
    assert not re.search(r'[\s<>,;:"\\()\[\]]', outside_quotes)
    assert outside_quotes.count("@") == 1
    assert mailbox.domain == mailbox.domain.lower()
    assert "." in mailbox.domain
    assert len(mailbox.local_part) <= 64
    assert len(mailbox.domain) <= 253
    assert all(0 < len(label) <= 63 for label in mailbox.domain.split("."))


@given(TEXTS)
def test_what_is_written_is_read_back(text):
    mailbox = parsed(text)
    if mailbox is not None:
        assert parse_mailbox(str(mailbox)) == mailbox
        assert parse_mailbox(mailbox.address) == Mailbox("", mailbox.local_part, mailbox.domain)


@given(NAMES, LOCAL_PARTS, DOMAINS)
def test_every_ordinary_mailbox_is_accepted_with_any_name(name, local_part, domain):
    mailbox = Mailbox(name.strip(" "), local_part, domain)
    assert parse_mailbox(str(mailbox)) == mailbox
