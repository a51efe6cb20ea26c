"""The rules that come with sealwax, and those of the operator beside them."""

import importlib.resources
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.rule import Figure, Rule
from sealwax.policy.shaping.rule_file import rules_from
from sealwax.policy.shaping.rules import ShapingRules

_FILE = "shaping.toml"


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
    try:
        text = own.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(str(own), "", f"cannot be read: {error}") from error
    return ShapingRules((*_builtin_rules(), *_parsed(text, own.name, sourced=False)), settings)


@cache
def _builtin_rules() -> tuple[Rule, ...]:
    file = importlib.resources.files("sealwax.policy") / "rules" / _FILE
    return _parsed(file.read_text(encoding="utf-8"), _FILE, sourced=True)


def _parsed(text: str, file: str, *, sourced: bool) -> tuple[Rule, ...]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RuleError(file, "", f"is no TOML: {error}") from error
    return rules_from(document, file, sourced=sourced)
