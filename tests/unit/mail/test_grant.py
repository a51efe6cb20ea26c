"""The grant of a request record."""

from sealwax.mail.grant import grant, grant_holds

KEY = b"k" * 32
FACTS = ("01939d6c-8f00-7abc-8def-0123456789ab", "default", 1732435200123, b'{"from":"a@b.test"}')


def test_a_grant_holds_for_exactly_what_it_was_given_for():
    claimed = grant(KEY, *FACTS)
    assert len(claimed) == 64
    assert grant_holds(KEY, *FACTS, claimed)
    email_id, tenant, at, value = FACTS
    assert not grant_holds(b"x" * 32, *FACTS, claimed)
    assert not grant_holds(KEY, email_id[:-1] + "c", tenant, at, value, claimed)
    assert not grant_holds(KEY, email_id, "other", at, value, claimed)
    assert not grant_holds(KEY, email_id, tenant, at + 1, value, claimed)
    assert not grant_holds(KEY, email_id, tenant, at, value + b" ", claimed)


def test_anything_else_that_stands_in_the_header_is_no_grant():
    claimed = grant(KEY, *FACTS)
    for text in ("", claimed[:-1], claimed.upper(), claimed + "0", "é" * 64, "\ud800"):
        assert not grant_holds(KEY, *FACTS, text)


def test_a_letter_cannot_move_from_one_field_into_the_next():
    assert grant(KEY, "id1", "2", 3, b"") != grant(KEY, "id", "12", 3, b"")
    assert grant(KEY, "id", "t", 12, b"") != grant(KEY, "id", "t1", 2, b"")
