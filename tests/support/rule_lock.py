"""What each rule for replies knew and decided when its version was given.

`python -m tests.support.rule_lock` notes new rules and new versions in tests/fixtures/reply_rules.lock.
It refuses where a rule was changed without a new version, or an old version has come back.
"""

import hashlib
import sys
from pathlib import Path

from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.rule import Rule

LOCK = Path(__file__).parents[1] / "fixtures" / "reply_rules.lock"
_HEAD = "# Rule, version, digest. python -m tests.support.rule_lock writes it.\n"


def digest(rule: Rule) -> str:
    """Of all that decides; what is only said (`fix`) may change."""
    decides = (
        sorted(rule.providers),
        sorted(rule.commands),
        sorted(rule.codes),
        sorted(rule.statuses),
        sorted(rule.phrases),
        rule.pattern.pattern if rule.pattern else b"",
        str(rule.reply_class),
        str(rule.message),
        rule.by_code,
        str(rule.recipient),
        [str(fate) for fate in rule.path],
    )
    return hashlib.sha256(repr(decides).encode()).hexdigest()[:16]


def noted(text: str) -> dict[str, tuple[int, str]]:
    """Rule -> its newest version and the digest of it."""
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {rule: (int(version), made) for rule, version, made in lines}


def faults(rules: tuple[Rule, ...], known: dict[str, tuple[int, str]]) -> list[str]:
    """What is wrong with rules, one sentence each."""
    found = []
    for rule in rules:
        version, made = known.get(rule.id, (0, ""))
        if rule.version == version and digest(rule) != made:
            found.append(f"{rule.id} was changed: give it version {version + 1}")
        elif rule.version < version:
            found.append(f"{rule.id} has had version {version}: give it {version + 1}")
    return found


def with_new(rules: tuple[Rule, ...], known: dict[str, tuple[int, str]]) -> str:
    """The file with all rules. Rules that are gone stay, so that no id comes back as another."""
    now = known | {rule.id: (rule.version, digest(rule)) for rule in rules}
    return _HEAD + "".join(f"{name} {v} {made}\n" for name, (v, made) in sorted(now.items()))


if __name__ == "__main__":
    before = noted(LOCK.read_text()) if LOCK.exists() else {}
    if wrong := faults(builtin().rules, before):
        sys.exit("\n".join(wrong))
    LOCK.write_text(with_new(builtin().rules, before))
