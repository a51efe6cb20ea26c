"""Reads rules for shaping from the content of a TOML file; docs/shaping.md explains its form."""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.rule import Figure, Rule, Step
from sealwax.policy.shaping.shape import Scope, What
from sealwax.policy.throttle import Rate, rate_from

_TABLES = {"sources", "default", "routed", "provider", "site", "domain"}
_NUMBERS = {What.CONNECTIONS, What.MESSAGES_PER_CONNECTION}
_MOST = 1_000_000
_DOMAIN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)+", re.ASCII)
_NO_LIMIT = "none"


def rules_from(document: Mapping[str, Any], file: str, *, sourced: bool) -> tuple[Rule, ...]:
    """The rules of a file, in the order in which they stand there.

    Args:
        document: Its content.
        file: What it is called in errors.
        sourced: Whether each figure has to say where it is from.

    Raises:
        RuleError: Something in it is not as it has to be; the text says what and where.
    """
    for key in document.keys() - _TABLES:
        raise RuleError(file, key, f"is not known; there are {', '.join(sorted(_TABLES))}")
    reader = _Reader(file, document.get("sources", {}), sourced=sourced)
    whole = [step for step in (Step.DEFAULT, Step.ROUTED) if step in document]
    rules = [reader.rule(step, step, document[step]) for step in whole]
    for name, table in _tables(document, file, "provider", dict).items():
        rules.append(reader.rule(Step.PROVIDER, name, table))
    for step in (Step.SITE, Step.DOMAIN):
        for number, table in enumerate(_tables(document, file, step, list), start=1):
            named = table.get("id") if isinstance(table, dict) else None
            if not isinstance(named, str) or not named:
                raise RuleError(f"{file}: {step} {number}", "id", "must be a name of its own")
            rules.append(reader.rule(step, named, {k: v for k, v in table.items() if k != "id"}))
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            raise RuleError(f"{file}: {rule.id}", "", "stands for two rules")
        seen.add(rule.id)
    return tuple(rules)


def _tables(document: Mapping[str, Any], file: str, key: str, kind: type) -> Any:  # noqa: ANN401 - of that kind
    found = document.get(key, kind())
    if not isinstance(found, kind):
        form = f"[{key}.NAME]" if kind is dict else f"[[{key}]]"
        raise RuleError(file, key, f"must be written as {form}")
    return found


class _Reader:
    def __init__(self, file: str, sources: Mapping[str, str], *, sourced: bool) -> None:
        self._file = file
        self._sources = sources
        self._sourced = sourced
        self._rule = ""

    def rule(self, step: Step, name: str, table: object) -> Rule:
        """One rule, key by key; what is left over in the end is an error."""
        self._rule = f"{self._file}: {name}"
        if not isinstance(table, dict):
            self._fail("", "must be a table")
        left = dict(table)
        version = left.pop("version", 1)
        if type(version) is not int or version < 1:
            self._fail("version", "must be a number from 1 on")
        called = left.pop("name", "") if step is Step.PROVIDER else ""
        if step is Step.PROVIDER and "mx" in left and not (isinstance(called, str) and called):
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
            named = isinstance(hosts, list) and all(isinstance(host, str) for host in hosts)
            if not named or not hosts:
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
        source = left.pop("source", "")
        if self._sourced and not source:
            self._fail("limits", f"{table!r} must say its source")
        whats = [what for what in What if what in left]
        if len(whats) != 1 or len(left) != 1:
            known = ", ".join(What)
            self._fail("limits", f"{table!r} must have exactly one figure, of {known}")
        value = self._value(whats[0], left[whats[0]])
        if scope is Scope.DOMAIN and whats[0] not in {What.CONNECTIONS, What.RATE}:
            self._fail("limits", f"{table!r}: a domain shares its connections with its site")
        return Figure(scope, whats[0], per_ip, value, self._sources.get(source, source))

    def _scope(self, step: Step, at: object) -> Scope:
        usual = Scope.DOMAIN if step is Step.DOMAIN else Scope.SITE
        allowed = {
            Step.PROVIDER: {Scope.PROVIDER, Scope.SITE},
            Step.DOMAIN: {Scope.DOMAIN, Scope.SITE},
        }.get(step, {Scope.SITE})
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
