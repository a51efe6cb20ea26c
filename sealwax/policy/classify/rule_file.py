"""From the content of a bounce.toml to rules, with an error for whatever is wrong with it.

The file has a table `[[rule]]` for each rule; docs/replies.md lists its fields.
"""

import re
import string
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from sealwax.model.duration import DurationError, parse_duration
from sealwax.model.reply import Command
from sealwax.policy.classify.fates import (
    FAIL,
    KEEP,
    MessageFate,
    PathAction,
    PathFate,
    RecipientFate,
    ReplyClass,
    Scope,
    Towards,
)
from sealwax.policy.classify.rule import CODE_WORDS, UNKNOWN, Rule
from sealwax.policy.classify.words import is_linear, pieces_of
from sealwax.policy.rule_error import RuleError

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

_ID = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+")
_STATUS = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")
_MOST_ID = 60  # characters: it stands in every row of an outcome
_MOST_VERSION = 0xFFFF  # what the column of it holds
_LEAST_WORD = 3  # letters of the longest word of a phrase
_PATH_KEYS = frozenset({"do", "scope", "towards", "for", "after"})
_RECIPIENT_KEYS = frozenset({"failures", "within"})
_FALLBACK_KEYS = frozenset({"id", "version", "code", "class", "message", "fallback"})


def rules_from(document: Mapping[str, Any], providers: Collection[str]) -> tuple[Rule, ...]:
    """The rules of a file, in its order.

    Args:
        document: Its content.
        providers: Those that rules may name.

    Raises:
        RuleError: One of them is not as it has to be; it names the rule and the field.
    """
    for key in document.keys() - {"rule"}:
        raise RuleError(key, "", "is not known: all there can be are tables [[rule]]")
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RuleError("rule", "", "must be tables [[rule]]")
    rules: dict[str, Rule] = {}
    for number, table in enumerate(tables, start=1):
        rule = _Reader(table, number, providers).rule()
        if rule.id in rules:
            raise RuleError(rule.id, "id", "stands for two rules")
        rules[rule.id] = rule
    return tuple(rules.values())


class _Reader:
    """Reads one rule, field by field; what is left over in the end is an error."""

    def __init__(self, table: Mapping[str, Any], number: int, providers: Collection[str]) -> None:
        self._left = dict(table)
        self._providers = providers
        self._name = f"rule {number}"
        self._own = "provider" in table

    def rule(self) -> Rule:
        """The rule."""
        self._name = rule_id = self._id()
        if self._is_fallback(rule_id):
            return self._fallback(rule_id)
        version, phrases = self._version(), self._phrases()
        pattern = self._pattern("pattern")
        if not phrases and pattern is None:
            self._fail("text", "is missing: a status or a code alone says too little")
        message, by_code = self._message()
        fix, found = self._fix()
        rule = Rule(
            id=rule_id,
            version=version,
            providers=self._provider(),
            commands=frozenset(Command(each) for each in self._commands()),
            codes=self._codes(),
            statuses=self._statuses(),
            phrases=phrases,
            pattern=pattern,
            reply_class=self._one_of("class", ReplyClass),
            message=message,
            by_code=by_code,
            recipient=self._recipient(),
            path=self._path(),
            fix=fix,
            found=found,
            fallback=False,
        )
        if rule.reply_class is ReplyClass.UNKNOWN:
            self._fail("class", "unknown is for replies that no rule knows")
        self._nothing_left()
        return rule

    def _fallback(self, rule_id: str) -> Rule:
        for key in self._left.keys() - _FALLBACK_KEYS:
            self._fail(key, "a rule for unknown replies takes all of a code, and touches nothing")
        message, by_code = self._message()
        if message.fails:
            self._fail("message", "an unknown reply fails by its code alone: retry, or code")
        rule = Rule(
            id=rule_id,
            version=self._version(),
            providers=(),
            commands=frozenset(),
            codes=self._codes(),
            statuses=frozenset(),
            phrases=(),
            pattern=None,
            reply_class=self._one_of("class", ReplyClass),
            message=message,
            by_code=by_code,
            recipient=KEEP,
            path=(),
            fix="",
            found=None,
            fallback=True,
        )
        if rule.reply_class is not ReplyClass.UNKNOWN:
            self._fail("class", "must be unknown: nobody knows what these replies are about")
        self._nothing_left()
        return rule

    def _id(self) -> str:
        rule_id = self._take("id", str, "must be a name with dots in it")
        if not _ID.fullmatch(rule_id) or len(rule_id) > _MOST_ID:
            self._fail(
                "id", f"{rule_id!r} must be lower case words with dots, such as google.rate.ip"
            )
        return rule_id

    def _is_fallback(self, rule_id: str) -> bool:
        fallback = self._flag("fallback")
        if fallback != rule_id.startswith(UNKNOWN):
            self._fail("id", f"begins with {UNKNOWN} where fallback = true, and nowhere else")
        return fallback

    def _version(self) -> int:
        version = self._take("version", int, f"must be a number from 1 to {_MOST_VERSION}")
        if not 1 <= version <= _MOST_VERSION:
            self._fail("version", f"must be a number from 1 to {_MOST_VERSION}")
        return version

    def _provider(self) -> tuple[str, ...]:
        named = self._texts("provider")
        for provider in named:
            if provider not in self._providers:
                self._fail("provider", f"{provider!r} is not in shaping.toml")
        return named

    def _commands(self) -> tuple[str, ...]:
        named = self._texts("at")
        for command in named:
            if command not in set(Command):
                self._fail("at", f"{command!r} is none of {', '.join(Command)}")
        return named

    def _codes(self) -> tuple[str, ...]:
        codes = self._left.pop("code", None)
        if not isinstance(codes, list) or not codes:
            self._fail("code", f"must be a list of codes, or of {', '.join(CODE_WORDS)}")
        for code in codes:
            if code not in CODE_WORDS and not (type(code) is int and 400 <= code < 600):  # noqa: PLR2004 - RFC 5321 4.2.1
                self._fail("code", f"{code!r} is neither 400 to 599 nor {', '.join(CODE_WORDS)}")
        return tuple(str(code) for code in codes)

    def _statuses(self) -> frozenset[str]:
        statuses = self._texts("status")
        for status in statuses:
            if not _STATUS.fullmatch(status):
                self._fail("status", f"{status!r} is no status such as 5.7.1 (RFC 3463)")
        return frozenset(statuses)

    def _phrases(self) -> tuple[tuple[bytes, ...], ...]:
        phrases = []
        for text in self._texts("text"):
            pieces = pieces_of(text)
            words = b"".join(pieces).split()
            if not words or max(map(len, words)) < _LEAST_WORD:
                self._fail("text", f"{text!r} needs a word of at least {_LEAST_WORD} letters")
            phrases.append(pieces)
        return tuple(phrases)

    def _pattern(self, field: str) -> "re.Pattern[bytes] | None":
        text = self._text(field)
        if not text:
            return None
        if not is_linear(text):
            self._fail(field, "may take long: no * or +, no repeated group, {m,n} up to 9, 3 times")
        try:
            return re.compile(text.encode("ascii"))
        except (re.error, UnicodeEncodeError) as error:
            self._fail(field, f"is no regular expression in ASCII: {error}")

    def _message(self) -> tuple[MessageFate, bool]:
        said = self._take("message", str, "must be retry, fail or code")
        if said not in ("retry", "fail", "code"):
            self._fail("message", f"{said!r} is none of retry, fail, code")
        after_ms, at_once = self._duration(self._left, "after"), self._flag("at_once")
        fate = MessageFate(said == "fail", after_ms, at_once, self._flag("same_ip"))
        if fate.fails and fate != FAIL:
            self._fail("message", "fails, so there is no next attempt to say anything about")
        if at_once and after_ms:
            self._fail("after", "contradicts at_once")
        return fate, said == "code"

    def _recipient(self) -> RecipientFate:
        said = self._left.pop("recipient", "keep")
        if said == "keep":
            return KEEP
        if said == "suppress":
            return RecipientFate(1)
        if not isinstance(said, dict) or said.keys() != _RECIPIENT_KEYS:
            self._fail("recipient", "must be keep, suppress, or {failures = 3, within = '14d'}")
        failures = said["failures"]
        if type(failures) is not int or failures <= 1:
            self._fail("recipient", "failures must be 2 or more; for the first say suppress")
        return RecipientFate(failures, self._duration(dict(said), "within"))

    def _path(self) -> tuple[PathFate, ...]:
        tables = self._left.pop("path", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._fail("path", "must be a list of tables")
        return tuple(self._path_fate(dict(table)) for table in tables)

    def _path_fate(self, table: dict[str, Any]) -> PathFate:
        for key in table.keys() - _PATH_KEYS:
            self._fail("path", f"{key} is none of {', '.join(sorted(_PATH_KEYS))}")
        for_ms, after_ms = self._duration(table, "for"), self._duration(table, "after")
        action = _member(table.get("do"), PathAction, lambda text: self._fail("path", f"do {text}"))
        if action is PathAction.TAKE_OUT and for_ms:
            self._fail("path", "what is taken out stays out until somebody puts it back: no `for`")
        if action is PathAction.SLOW and not for_ms:
            self._fail("path", "slow needs `for`")
        scope = _member(table.get("scope"), Scope, lambda text: self._fail("path", f"scope {text}"))
        nearest = "provider" if self._own else "site"
        towards = _member(
            table.get("towards", nearest),
            Towards,
            lambda text: self._fail("path", f"towards {text}"),
        )
        return PathFate(action, scope, towards, for_ms, after_ms)

    def _fix(self) -> tuple[str, "re.Pattern[bytes] | None"]:
        fix, found = self._text("fix"), self._pattern("found")
        try:
            names = {name for _, name, _, _ in string.Formatter().parse(fix) if name is not None}
        except ValueError as error:
            self._fail("fix", f"has braces that are no names: {error}")
        if names != set(found.groupindex if found else ()):
            self._fail("fix", "names in braces must be those of the groups of `found`, and all")
        return fix, found

    def _one_of(self, field: str, kind: type[E]) -> E:
        return _member(self._left.pop(field, None), kind, lambda text: self._fail(field, text))

    def _duration(self, table: dict[str, Any], field: str) -> int:
        """Milliseconds; 0 where it is not there."""
        if field not in table:
            return 0
        try:
            duration = parse_duration(str(table.pop(field)))
        except DurationError as error:
            self._fail(field, str(error))
        if not duration:
            self._fail(field, "must be longer than nothing")
        return duration // timedelta(milliseconds=1)

    def _texts(self, field: str) -> tuple[str, ...]:
        """A list of texts, or one text; none where it is not there."""
        value = self._left.pop(field, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            self._fail(field, "must be a text or a list of texts")
        return tuple(values)

    def _text(self, field: str) -> str:
        return self._take(field, str, "must be a text", default="")

    def _flag(self, field: str) -> bool:
        return self._take(field, bool, "must be true or false", default=False)

    def _take(self, field: str, kind: type[T], problem: str, default: object = None) -> T:
        """A value of just that type: a bool is no number."""
        value = self._left.pop(field, default)
        if type(value) is not kind:
            self._fail(field, f"is missing: it {problem}" if value is None else problem)
        return value

    def _nothing_left(self) -> None:
        for field in self._left:
            self._fail(field, "is not known")

    def _fail(self, field: str, problem: str) -> NoReturn:
        raise RuleError(self._name, field, problem)


def _member(value: object, kind: type[E], fail: Callable[[str], NoReturn]) -> E:
    if not isinstance(value, str) or value not in set(kind):
        fail(f"{value!r} is none of {', '.join(kind)}")
    return kind(value)
