"""The rules that come with sealwax, and those of the operator beside them."""

import importlib.resources
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.rule import Figure, Rule
from sealwax.policy.shaping.rule_file import Read, read_rules, rules_from
from sealwax.policy.shaping.rules import ShapingRules

FILE = "shaping.toml"


@cache
def builtin() -> ShapingRules:
    """The rules that come with sealwax.

    Raises:
        RuleError: The file was changed and is not as it has to be; the text says where.
    """
    return ShapingRules(_builtin_rules())


def shaping(own: Path | None, settings: Sequence[Figure] = ()) -> ShapingRules:
    """Those rules, the operator's own, and what the settings say of every site.

    Args:
        own: The operator's file.
        settings: Limits by settings.

    Raises:
        RuleError: A file cannot be read, or is not as it has to be; the text says where.
    """
    if own is None:
        return ShapingRules(_builtin_rules(), settings) if settings else builtin()
    found = _own(own)
    if found.errors:
        raise found.errors[0]
    return ShapingRules((*_builtin_rules(), *found.rules), settings)


def errors(own: Path | None) -> list[RuleError]:
    """All that keeps `shaping` from reading those files, one error a rule."""
    try:
        found = _own(own) if own else None
        if found and found.errors:
            return list(found.errors)
        shaping(own)
    except RuleError as error:
        return [error]
    return []


def _own(path: Path) -> Read:
    """The operator's file; one that is called as ours is named in full."""
    file = str(path) if path.name == FILE else path.name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(str(path), "", f"cannot be read: {error}") from error
    return read_rules(_document(text, file), file, sourced=False)


@cache
def _builtin_rules() -> tuple[Rule, ...]:
    file = importlib.resources.files("sealwax.policy") / "rules" / FILE
    return rules_from(_document(file.read_text(encoding="utf-8"), FILE), FILE, sourced=True)


def _document(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RuleError(file, "", f"is no TOML: {error}") from error
