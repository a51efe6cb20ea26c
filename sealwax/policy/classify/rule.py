"""One rule: which replies it knows, and what they mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sealwax.model.reply import Command
from sealwax.policy.classify.fates import FAIL, MessageFate, PathFate, RecipientFate, ReplyClass

# Codes of a rule: three digits, or one of these.
NO_REPLY, TEMPORARY, PERMANENT, OTHER = "0", "4xx", "5xx", "other"
CODE_WORDS = (NO_REPLY, TEMPORARY, PERMANENT, OTHER)
# Before the id of a rule that knows no words, and of no other one.
UNKNOWN = "unknown."


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    A reply is known by all of: the provider of the host that answered, the command answered, the
    code, the enhanced status, and its words. Never by the enhanced status alone.

    Attributes:
        id: Stable name with dots in it; the part before the first is the provider's or `general`.
        version: From 1, raised with every change of what it knows or decides.
        providers: Whose replies; empty for everybody's.
        commands: Answers to which commands; empty for all.
        codes: Three digits each, or one of CODE_WORDS.
        statuses: Enhanced statuses; empty for any.
        phrases: One of them has to be in the text, each as pieces (see words.py).
        pattern: Has to be found in the line of words too; None for no such condition.
        reply_class: What these replies are about.
        message: What becomes of the message.
        by_code: It fails where the code is 5xx, and `message` is for all others.
        recipient: What becomes of the recipient.
        path: What to do with the path.
        fix: What somebody has to do; `{name}` stands for a group of `found`.
        found: Finds details for `fix` in the line of words.
        fallback: It takes what no other rule knows.
    """

    id: str
    version: int
    providers: tuple[str, ...]
    commands: frozenset[Command]
    codes: tuple[str, ...]
    statuses: frozenset[str]
    phrases: tuple[tuple[bytes, ...], ...]
    pattern: "re.Pattern[bytes] | None"
    reply_class: ReplyClass
    message: MessageFate
    by_code: bool
    recipient: RecipientFate
    path: tuple[PathFate, ...]
    fix: str
    found: "re.Pattern[bytes] | None"
    fallback: bool

    def admits(self, command: Command, status: str, line: bytes) -> bool:
        """Whether command, status and pattern fit; what else there is was looked at before."""
        return (
            (not self.commands or command in self.commands)
            and (not self.statuses or status in self.statuses)
            and (self.pattern is None or self.pattern.search(line) is not None)
        )

    def message_fate(self, *, permanent: bool) -> MessageFate:
        """What becomes of the message after a 5xx, or after anything else."""
        return FAIL if self.by_code and permanent else self.message

    def advice(self, line: bytes) -> str:
        """`fix` with what the reply says in place of its names."""
        if self.found is None:
            return self.fix
        said = self.found.search(line)
        return self.fix.format_map(_Said(said.groupdict() if said else {}))


class _Said(dict[str, str]):
    """Details that a reply gave, by name."""

    def __init__(self, groups: Mapping[str, bytes | None]) -> None:
        super().__init__(
            {name: value.decode() for name, value in groups.items() if value is not None}
        )

    def __missing__(self, name: str) -> str:
        return "(not said)"
