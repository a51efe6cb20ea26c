"""Reads rules for shaping from the content of a TOML file; docs/shaping.md explains its form."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.rule import Figure, Rule, Step
from sealwax.policy.shaping.shape import Scope, What
from sealwax.policy.throttle import Rate, rate_from

_TABLES = {"sources", "default", "routed", "provider", "site", "domain"}
_FORMS = {
    Step.PROVIDER: "[provider.NAME]",
    Step.SITE: "[[site]]",
    Step.DOMAIN: "[[domain]]",
}
# Where else than at their usual place limits of a step may be.
_ELSEWHERE = {
    Step.DEFAULT: (Scope.DOMAIN,),
    Step.PROVIDER: (Scope.PROVIDER,),
    Step.DOMAIN: (Scope.SITE,),
}
_NUMBERS = {What.CONNECTIONS, What.MESSAGES_PER_CONNECTION}
_MOST = 1_000_000
_DOMAIN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)+", re.ASCII)
# Outcomes and waits name rules, such as `provider:google.connections`.
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_NO_LIMIT = "none"


class Read(NamedTuple):
    """What a file has.

    Attributes:
        rules: Those that can be used, in the order in which they stand there.
        errors: What is wrong with the others, one error a rule.
    """

    rules: tuple[Rule, ...]
    errors: tuple[RuleError, ...]


def rules_from(document: Mapping[str, Any], file: str, *, sourced: bool) -> tuple[Rule, ...]:
    """The rules of a file, in the order in which they stand there.

    Args:
        document: Its content.
        file: What it is called in errors.
        sourced: Whether each figure has to say where it is from.

    Raises:
        RuleError: Something in it is not as it has to be; the text says what and where.
    """
    rules, errors = read_rules(document, file, sourced=sourced)
    if errors:
        raise errors[0]
    return rules


def read_rules(document: Mapping[str, Any], file: str, *, sourced: bool) -> Read:
    """The same with all errors, for whoever mends the file. Arguments as for `rules_from`."""
    known = ", ".join(sorted(_TABLES))
    errors = [
        RuleError(file, key, f"is not known; there are {known}")
        for key in document
        if key not in _TABLES
    ]
    rules: dict[str, Rule] = {}
    try:
        reader = _Reader(file, _sources(document, file), sourced=sourced)
    except RuleError as error:
        return Read((), (*errors, error))
    for step, name, table in _entries(document):
        try:
            rule = reader.rule(step, name, table)
        except RuleError as error:
            errors.append(error)
            continue
        if rules.setdefault(rule.id, rule) is not rule:
            errors.append(RuleError(f"{file}: {rule.id}", "", "stands for two rules"))
    return Read(tuple(rules.values()), tuple(errors))


def _sources(document: Mapping[str, Any], file: str) -> Mapping[str, str]:
    found = document.get("sources", {})
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise RuleError(file, "sources", "must be a table: short name = text")
    return found


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[Step, object, object]]:
    """What should be a rule: its step, its name or its number, and its content."""
    for step in (Step.DEFAULT, Step.ROUTED):
        if step in document:
            yield step, str(step), document[step]
    providers = document.get(Step.PROVIDER, {})
    if isinstance(providers, dict):
        for name, table in providers.items():
            yield Step.PROVIDER, name, table
    else:
        yield Step.PROVIDER, None, providers
    for step in (Step.SITE, Step.DOMAIN):
        tables = document.get(step, [])
        if isinstance(tables, list):
            for number, table in enumerate(tables, start=1):
                yield step, number, table
        else:
            yield step, None, tables


def _is_domain(text: object) -> bool:
    found = _DOMAIN.fullmatch(text.lower()) if isinstance(text, str) else None
    return found is not None and not found[1]


class _Reader:
    def __init__(self, file: str, sources: Mapping[str, str], *, sourced: bool) -> None:
        self._file = file
        self._sources = sources
        self._sourced = sourced
        self._rule = ""

    def rule(self, step: Step, entry: object, table: object) -> Rule:
        """One rule, key by key; what is left over in the end is an error."""
        self._rule = self._file
        if entry is None:
            self._fail(step, f"must be written as {_FORMS[step]}")
        self._rule = f"{self._file}: {f'{step} {entry}' if isinstance(entry, int) else entry}"
        if not isinstance(table, dict):
            self._fail("", "must be a table")
        left = dict(table)
        name = self._id(step, left.pop("id", None) if isinstance(entry, int) else entry)
        self._rule = f"{self._file}: {name}"
        version = left.pop("version", 1)
        if type(version) is not int or version < 1:
            self._fail("version", "must be a number from 1 on")
        called = left.pop("name", "") if step is Step.PROVIDER else ""
        if not isinstance(called, str) or (step is Step.PROVIDER and "mx" in left and not called):
            self._fail("name", "must be what people call it")
        made = Rule(
            id=name,
            version=version,
            step=step,
            names=self._names(step, left),
            figures=tuple(self._figures(step, left.pop("limits", []))),
            samples=self._samples(step, left),
            called=called,
            file=self._file,
        )
        for key in left:
            self._fail(key, "is not known here")
        return made

    def _id(self, step: Step, name: object) -> str:
        if not isinstance(name, str) or not _ID.fullmatch(name):
            self._fail("id", "must be a name of its own, of letters, digits, '.', '_' or '-'")
        if name in set(Step) and name != step:
            self._fail("id", f"must be another one: {name!r} is what a step is called")
        return name

    def _names(self, step: Step, left: dict[str, Any]) -> tuple[str, ...]:
        if step in {Step.DEFAULT, Step.ROUTED}:
            return ()
        key = "domains" if step is Step.DOMAIN else "mx"
        if step is Step.PROVIDER and key not in left:
            return ()  # of an operator's file: more figures for one that is known
        names = left.pop(key, None)
        if not isinstance(names, list) or not names:
            what = "domains" if step is Step.DOMAIN else "suffixes of MX host names"
            self._fail(key, f"must be a list of {what}")
        for one in names:
            wild = isinstance(one, str) and one.startswith("*.")
            if not isinstance(one, str) or not _DOMAIN.fullmatch(one) or (wild and key == "mx"):
                self._fail(key, f"{one!r} must be a domain in lower case, such as yahoodns.net")
        return tuple(names)

    def _samples(self, step: Step, left: dict[str, Any]) -> Mapping[str, tuple[str, ...]]:
        found = left.pop("samples", {}) if step in {Step.PROVIDER, Step.SITE} else {}
        if not isinstance(found, dict):
            self._fail("samples", "must be a table: domain = [MX hosts]")
        for domain, hosts in found.items():
            if not _is_domain(domain):
                self._fail("samples", f"{domain!r} must be a domain, such as example.com")
            if not isinstance(hosts, list) or not hosts or not all(map(_is_domain, hosts)):
                self._fail("samples", f"{domain} must have a list of MX hosts")
        return {
            domain.lower(): tuple(host.lower() for host in hosts) for domain, hosts in found.items()
        }

    def _figures(self, step: Step, limits: object) -> list[Figure]:
        if not isinstance(limits, list):
            self._fail("limits", "must be a list of tables with one figure each")
        return [self._figure(step, one) for one in limits]

    def _figure(self, step: Step, table: object) -> Figure:
        if not isinstance(table, dict):
            self._fail("limits", f"{table!r} must be a table with one figure")
        left = dict(table)
        scope = self._scope(step, left.pop("at", None))
        per_ip = left.pop("per_ip", False)
        if type(per_ip) is not bool:
            self._fail("per_ip", "must be true or false")
        source = self._source(table, left.pop("source", ""))
        whats = [what for what in What if what in left]
        if len(whats) != 1 or len(left) != 1:
            known = ", ".join(What)
            self._fail("limits", f"{table!r} must have exactly one figure, of {known}")
        value = self._value(whats[0], left[whats[0]])
        if scope is Scope.DOMAIN and whats[0] not in {What.CONNECTIONS, What.RATE}:
            self._fail("limits", f"{table!r}: a domain shares its connections with its site")
        return Figure(scope, whats[0], per_ip, value, source)

    def _source(self, table: object, source: object) -> str:
        if not isinstance(source, str):
            self._fail("source", "must be text")
        if self._sourced and not source:
            self._fail("limits", f"{table!r} must say its source")
        # One word is short for a text, and says nothing where it is short for none.
        if self._sourced and source not in self._sources and source.isidentifier():
            self._fail("source", f"{source!r} does not stand in [sources]")
        return self._sources.get(source, source)

    def _scope(self, step: Step, at: object) -> Scope:
        usual = Scope.DOMAIN if step is Step.DOMAIN else Scope.SITE
        allowed = [usual, *_ELSEWHERE.get(step, ())]
        if at is not None and at not in allowed:
            self._fail("at", f"must be {' or '.join(sorted(allowed))} here, not {at!r}")
        return usual if at is None else Scope(str(at))

    def _value(self, what: What, value: object) -> int | Rate | None:
        if value == _NO_LIMIT:
            return None
        if what in _NUMBERS:
            if type(value) is not int or not 0 < value <= _MOST:
                self._fail(what, f"must be a number from 1 on, or {_NO_LIMIT!r}, not {value!r}")
            return value
        try:
            return rate_from(str(value))
        except ValueError:
            form = f"100/s, 100/m or 100/h, or {_NO_LIMIT!r}"
            self._fail(what, f"must be written as {form}, not {value!r}")

    def _fail(self, field: str, problem: str) -> NoReturn:
        raise RuleError(self._rule, field, problem)
