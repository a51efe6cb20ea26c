"""Promises of the decision about replies, over all that a peer may say."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.model.reply import BEFORE_RCPT, Command, Reply
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.fates import KEEP, ReplyClass
from sealwax.policy.classify.words import words_of
from tests.support.reply_corpus import entries

PHRASES = sorted(
    {b" ".join(pieces).decode() for rule in builtin().rules for pieces in rule.phrases}
)
HOSTS = ["", "mx.example.test", *sorted({entry.mx for entry in entries()})]
texts = st.one_of(
    st.text(max_size=1000),
    st.lists(st.one_of(st.sampled_from(PHRASES), st.text(max_size=20)), max_size=12).map(" ".join),
    st.sampled_from([entry.reply.text for entry in entries()]),
)
statuses = st.one_of(st.just(""), st.from_regex(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True))
codes = st.one_of(st.integers(0, 999), st.sampled_from([0, 354, 421, 450, 451, 452, 550, 552, 554]))
replies = st.builds(Reply, st.sampled_from(Command), codes, statuses, texts)
hosts = st.one_of(st.sampled_from(HOSTS), st.text(max_size=60))


@given(reply=replies, host=hosts)
def test_every_reply_means_something_and_always_the_same(reply, host):
    found = builtin().classify(reply, host)
    assert found == builtin().classify(reply, host)
    rule = builtin().known(found.rule)
    assert rule is not None
    assert (rule.version, rule.reply_class) == (found.rule_version, found.reply_class)
    assert not rule.providers or found.provider in rule.providers
    assert not rule.commands or reply.command in rule.commands
    assert not rule.statuses or reply.status in rule.statuses


@given(reply=replies, host=hosts)
def test_an_unknown_reply_suppresses_nobody_and_touches_no_path(reply, host):
    found = builtin().classify(reply, host)
    unknown = found.rule.startswith("unknown.")
    assert unknown == (found.reply_class is ReplyClass.UNKNOWN)
    if unknown:
        assert (found.recipient, found.path, found.fix) == (KEEP, (), "")
        late = reply.command not in BEFORE_RCPT
        assert found.message.fails == (reply.permanent and late)


@given(reply=replies, host=hosts, command=st.sampled_from(sorted(BEFORE_RCPT)))
def test_before_rcpt_no_message_fails_and_nobody_is_suppressed(reply, host, command):
    early = Reply(command, reply.code, reply.status, reply.text)
    found = builtin().classify(early, host)
    assert not found.message.fails
    assert found.recipient == KEEP


@given(command=st.sampled_from(Command), code=codes, status=statuses, host=hosts)
def test_a_status_alone_tells_nothing(command, code, status, host):
    assert builtin().classify(Reply(command, code, status, ""), host).rule.startswith("unknown.")


@given(
    local=st.lists(st.sampled_from(PHRASES), min_size=1, max_size=4).map(
        lambda phrases: ".".join(" ".join(phrases).split())
    ),
    host=hosts,
)
def test_the_words_of_an_address_tell_nothing(local, host):
    reply = Reply(Command.RCPT, 550, "", f"<{local}@example.test>: no")
    assert words_of(reply.text) == [b"no"]
    assert builtin().classify(reply, host).rule == "unknown.5xx"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("host", HOSTS[1:])
def test_what_is_made_to_take_long_does_not(host):
    random.seed(1)
    words = sorted({word for phrase in PHRASES for word in phrase.split()})
    hostile = [
        "x" * 1000,
        "x " * 500,
        "1" * 1000,
        "1 " * 500,
        "ofr000 " * 140,
        "spf x dkim " * 90,
        " ".join(words)[:1000],
        *(" ".join(random.choices(words, k=200))[:1000] for _ in range(20)),
        *((piece * 1000)[:1000] for piece in (" user", " unknown", " blocked using", "@", "<@")),
    ]
    for text in hostile:
        for code in (0, 421, 550, 554):
            assert builtin().classify(Reply(Command.RCPT, code, "", text), host)
