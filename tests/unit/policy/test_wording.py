"""What stays of a reply when all that differs from mail to mail is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.classify.wording import wording


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<ada@example.test>: what?", "<address>: what?"),
        ("user ada@example.test, of us", "user <address>, of us"),
        ("see https://example.test/a?b=1 for more", "see <url> for more"),
        ("from [192.0.2.1] and 192.0.2.0/24", "from <ip> and <ip>"),
        ("from 2001:db8::1 and [2001:db8:0:1:2:3:4:5]", "from <ip> and <ip>"),
        ("mx-1.example.test says no.", "<host> says no."),
        ("Try in 300 seconds", "Try in <n> seconds"),
        ("[TSS12] (S3150) OFR006_102 IB607 RP-001", "[TSS12] (S3150) OFR006_102 IB607 RP-001"),
        ("code 5.7.1 and 4.16.55.1", "code 5.7.1 and <ip>"),
        ("2024-06-11T09:04:02.679Z 08DC8850F12E1502", "<time> <id>"),
        ("d9443c01a7336-1f9eb3b6e81si.239 - gsmtp", "<id> - gsmtp"),
        ("a" * 25, "<id>"),
        ("  two   blanks ", "two blanks"),
    ],
)
def test_what_differs_from_mail_to_mail_is_a_placeholder(text, left):
    assert wording(text) == left


@pytest.mark.timeout(60)
@given(st.one_of(st.text(max_size=1000), st.sampled_from("a1.:@-/").map(lambda c: c * 1000)))
def test_any_text_has_a_wording(text):
    assert isinstance(wording(text), str)
