"""Real replies against the rules that come with sealwax: each is known by the rule that is meant."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sealwax.model.reply import BEFORE_RCPT
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.fates import FAIL, KEEP, RETRY, ReplyClass, Scope
from tests.support.reply_corpus import Entry, cases, entries
from tests.support.rule_lock import LOCK, faults, noted, with_new

SETTINGS = Path(__file__).parents[3] / "docs" / "settings.md"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_a_real_reply_means_what_it_is_known_to_mean(entry: Entry):
    found = builtin().classify(entry.reply, entry.mx)
    decided = (
        found.rule,
        str(found.reply_class),
        str(found.message),
        str(found.recipient),
        tuple(str(fate) for fate in found.path),
    )
    assert decided == entry.expected, f"{entry.reply} of {entry.mx}, from {entry.source}"


def test_every_rule_is_reached_by_a_real_reply():
    reached = {entry.expected[0] for entry in entries()}
    assert {rule.id for rule in builtin().rules} - reached == set()


def test_the_corpus_has_an_example_of_every_case():
    named = {case for entry in entries() for case in entry.cases}
    assert named == set(cases())


def test_the_corpus_is_large_and_of_many_forms():
    found = entries()
    assert len(found) >= 150
    assert len({(e.mx, e.reply) for e in found}) == len(found)
    assert sum(not entry.reply.status for entry in found if entry.reply.code) >= 50
    temporary = [e for e in found if e.reply.permanent and e.expected[2].startswith("retry")]
    assert {e.expected[0] for e in temporary if e.reply.command not in BEFORE_RCPT} >= {
        "google.rcpt_rate", "google.rate_limited", "microsoft.rcpt_rate", "qq.rate",
        "orange.mailbox_full", "general.locked", "general.too_many_rcpts",
    }  # fmt: skip
    final = {e.expected[0] for e in found if 400 <= e.reply.code < 500 and e.expected[2] == "fail"}
    assert final == {"google.misaligned", "barracuda.abuse", "general.no_route_deferred"}


def test_whoever_is_suppressed_was_named_to_the_peer_or_cannot_be_reached():
    for entry in entries():
        if entry.expected[3] != "keep":
            assert entry.reply.command not in BEFORE_RCPT, entry.name


def test_only_rules_about_the_recipient_suppress():
    about = {
        ReplyClass.BAD_ADDRESS,
        ReplyClass.BAD_DOMAIN,
        ReplyClass.INACTIVE,
        ReplyClass.MAILBOX_FULL,
        ReplyClass.OPTED_OUT,
        ReplyClass.RELAY,
    }
    suppressing = {rule.reply_class for rule in builtin().rules if rule.recipient != KEEP}
    assert suppressing <= about


def test_no_rule_about_a_recipient_touches_a_path_that_others_use():
    for rule in builtin().rules:
        if rule.recipient != KEEP:
            assert {fate.scope for fate in rule.path} <= {Scope.RECIPIENT}, rule.id


def test_the_advice_says_which_check_failed_where_the_reply_does():
    (entry,) = (e for e in entries() if e.expected[0] == "microsoft.authentication_level")
    found = builtin().classify(entry.reply, entry.mx)
    assert found.fix.endswith("It saw SPF fail, DKIM pass, DMARC pass.")
    cut = replace(entry.reply, text=entry.reply.text.partition("Spf=")[0])
    assert "SPF (not said)" in builtin().classify(cut, entry.mx).fix


def test_every_setting_that_an_advice_names_exists():
    named = {s for rule in builtin().rules for s in re.findall(r"SEALWAX_[A-Z_]+", rule.fix)}
    assert named <= set(re.findall(r"SEALWAX_[A-Z_]+", SETTINGS.read_text()))


def test_a_rule_that_was_changed_has_a_new_version():
    known = noted(LOCK.read_text())
    assert faults(builtin().rules, known) == []
    assert with_new(builtin().rules, known) == LOCK.read_text(), (
        "run python -m tests.support.rule_lock"
    )


def test_a_change_without_a_new_version_is_found():
    rules = builtin().rules
    known = noted(with_new(rules, {}))
    first = rules[0]
    assert first.message == RETRY
    changed = replace(first, message=FAIL, by_code=False)
    assert faults((changed,), known) == [f"{first.id} was changed: give it version 2"]
    raised = replace(changed, version=2)
    assert faults((raised,), known) == []
    later = noted(with_new((raised,), known))
    assert faults((first,), later) == [f"{first.id} has had version 2: give it 3"]
    said = replace(first, fix="Something else.")
    assert faults((said,), known) == []
