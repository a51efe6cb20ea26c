"""Phrases among words: what hides them, and what must not."""

import re

import pytest

from sealwax.policy.classify.words import is_linear, line_of, pieces_of, stand_in, words_of


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("user unknown", "User unknown", True),
        ("user unknown", "<a@b.test>... User\tUnknown.", True),
        ("user unknown", "superuser unknown", False),
        ("user unknown", "user unknowns", False),
        ("user unknown", "unknown user", False),
        ("user unknown", "user-unknown", True),
        ("no such user", "<no.such.user@b.test>: try later", False),
        ("no such user", "RCPT TO:<no.such.user@b.test> denied", False),
        ("doesn't exist", "It doesnt exist", True),
        ("doesn't exist", "It doesn\u2019t exist", True),
        ("[ts03]", "421 [TS03] All", True),
        ("[ts03]", "421 [TSS03] All", False),
        ("rp-001", "RP-001 (COL004)", True),
        ("over * quota", "over the user's quota", True),
        ("over * quota", "over quota", True),
        ("over * quota", "quota over", False),
        ("over * over", "over", False),
        ("dnsbl:rbl * is_blocked", "DNSBL:RBL 521< 192.0.2.4 >_is_blocked.For", True),
        ("refuse", "Service refus\u00e9. Service refuse", True),
    ],
)
def test_a_phrase_is_found_by_whole_words_whatever_stands_between_them(phrase, text, found):
    assert stand_in(line_of(words_of(text)), pieces_of(phrase)) is found


@pytest.mark.parametrize(
    "pattern",
    ["a", " 5 7 1 ", "(?:a|b) c", r"\d{3}", r"\w{1,9} (?P<name>\d{0,3}) ?x", "[a-f]{2}", r"\b\d"],
)
def test_patterns_that_take_linear_time_are_taken(pattern):
    re.compile(pattern)
    assert is_linear(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "a*", "a+", "(a+)+", "(a|a)*b", "(a?){9}", "(?:ab){2}", "(ab)?", "a{1,}", "a{10}", "a{1,99}",
        r"\w{1,9}\w{1,9}\w{1,9}\w{1,9}", "a?b?c?d?", "(?=a)", "(?!a)", "(?<=a)", "(?P=x)", r"(a)\1",
        r"\S", "(?i)a",
    ],
)  # fmt: skip
def test_patterns_that_may_take_long_are_not(pattern):
    assert not is_linear(pattern)
