"""The decision: which rule knows a reply, and so what it means."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sealwax.errors import ConfigurationError
from sealwax.model.reply import BEFORE_RCPT, Reply
from sealwax.policy.classify.fates import KEEP, RETRY, Classified
from sealwax.policy.classify.rule import CODE_WORDS, NO_REPLY, OTHER, PERMANENT, TEMPORARY, Rule
from sealwax.policy.classify.words import line_of, stand_in, words_of
from sealwax.policy.shaping.providers import Providers

_EVERYBODY = ""
_NONE = 1 << 30  # behind all rules


class _Candidate(NamedTuple):
    """One phrase of a rule, or a rule without any.

    Attributes:
        order: Place of the rule among all; the lowest that fits decides.
        first: The first piece of the phrase; empty for a rule without any.
        rest: Its other pieces.
        rule: The rule.
    """

    order: int
    first: bytes
    rest: tuple[bytes, ...]
    rule: Rule


class _Bucket:
    """The rules for one provider and one code, by a word that each of their phrases needs."""

    __slots__ = ("_always", "_by_word", "_words")

    def __init__(self, candidates: Sequence[_Candidate]) -> None:
        phrases = [(c, _words(c)) for c in candidates if c.first]
        count = Counter(word for _, words in phrases for word in words)
        by_word: defaultdict[bytes, list[_Candidate]] = defaultdict(list)
        for candidate, words in phrases:
            # The rarest word, so that few phrases are looked for that are not there.
            by_word[min(words, key=lambda word: (count[word], -len(word), word))].append(candidate)
        self._by_word = {word: tuple(found) for word, found in by_word.items()}
        self._words = frozenset(by_word)
        self._always = tuple(c for c in candidates if not c.first)

    def find(self, reply: Reply, words: frozenset[bytes], line: bytes) -> Rule | None:
        """The first rule that knows the reply."""
        lowest, known = _NONE, None
        for order, _, _, rule in self._always:
            if rule.admits(reply.command, reply.status, line):
                lowest, known = order, rule
                break
        for word in self._words & words:
            for order, first, rest, rule in self._by_word[word]:
                if (
                    order < lowest
                    and first in line
                    and (not rest or stand_in(line, (first, *rest)))
                    and rule.admits(reply.command, reply.status, line)
                ):
                    lowest, known = order, rule
        return known


class Classifier:
    """Rules, indexed by provider and code. Its answer depends on the reply and the host alone.

    Guarantees, whatever the rules say: before RCPT no message fails and nobody is suppressed; a
    reply that no rule knows suppresses nobody, and fails the message only as a 5xx from RCPT on.
    """

    def __init__(self, rules: Sequence[Rule], providers: Providers) -> None:
        """Indexes the rules.

        Args:
            rules: In the order in which they are tried; a provider's own before all others.
            providers: Who answers.

        Raises:
            ConfigurationError: Some replies would find no rule at all.
        """
        self.rules = tuple(rules)
        self.providers = providers
        self._unknown = {
            code: rule for rule in reversed(self.rules) if rule.fallback for code in rule.codes
        }
        missing = [code for code in CODE_WORDS if code not in self._unknown]
        if missing:
            raise ConfigurationError(f"no rule takes unknown replies with code {missing[0]}")
        candidates: defaultdict[tuple[str, str], list[_Candidate]] = defaultdict(list)
        for order, rule in enumerate(rule for rule in self.rules if not rule.fallback):
            for provider in rule.providers or (_EVERYBODY,):
                for code in rule.codes:
                    candidates[provider, code] += [
                        _Candidate(order, first, tuple(rest), rule)
                        for first, *rest in rule.phrases or ((b"",),)
                    ]
        self._buckets = _by_code(candidates)

    def classify(self, reply: Reply, mx_host: str) -> Classified:
        """What a reply means.

        Args:
            reply: What the peer answered, or what stands for it.
            mx_host: The host that answered; empty where none was reached.
        """
        words = words_of(reply.text)
        line = line_of(words)
        provider = self.providers.of(mx_host)
        code = _code_word(reply.code)
        asked = frozenset(words)
        rule: Rule | None = None
        for who in (provider, _EVERYBODY) if provider else (_EVERYBODY,):
            buckets = self._buckets.get(who)
            if buckets is not None:
                bucket = buckets.get(str(reply.code)) or buckets.get(code)
                rule = None if bucket is None else bucket.find(reply, asked, line)
                if rule is not None:
                    break
        return _decided(rule or self._unknown[code], reply, provider, line)

    def known(self, rule: str) -> Rule | None:
        """The rule with this id."""
        return next((each for each in self.rules if each.id == rule), None)


def _words(candidate: _Candidate) -> set[bytes]:
    return {word for piece in (candidate.first, *candidate.rest) for word in piece.split()}


def _by_code(
    candidates: dict[tuple[str, str], list[_Candidate]],
) -> dict[str, dict[str, _Bucket]]:
    """Provider -> code -> its rules; those for all 4xx or 5xx are with each code that is named."""
    buckets: defaultdict[str, dict[str, _Bucket]] = defaultdict(dict)
    for (provider, code), own in candidates.items():
        more = [] if code in CODE_WORDS else candidates.get((provider, _code_word(int(code))), [])
        buckets[provider][code] = _Bucket(sorted([*own, *more], key=lambda c: c.order))
    return dict(buckets)


def _code_word(code: int) -> str:
    match code // 100:
        case 4:
            return TEMPORARY
        case 5:
            return PERMANENT
        case _:
            return OTHER if code else NO_REPLY


def _decided(rule: Rule, reply: Reply, provider: str, line: bytes) -> Classified:
    message, recipient = rule.message_fate(permanent=reply.permanent), rule.recipient
    if reply.command in BEFORE_RCPT:
        # No recipient was asked for: it is about us, and another path may be open.
        message, recipient = RETRY if message.fails else message, KEEP
    return Classified(
        rule.id,
        rule.version,
        rule.reply_class,
        provider,
        message,
        recipient,
        rule.path,
        rule.advice(line) if rule.fix else "",
    )
