"""The rules that come with sealwax: policy/rules/*.toml, read once a process."""

import importlib.resources
import tomllib
from functools import cache
from typing import Any

from sealwax.policy.classify.classifier import Classifier
from sealwax.policy.classify.rule_file import rules_from
from sealwax.policy.rule_error import RuleError
from sealwax.policy.shaping.builtin import builtin as shaping_rules

_RULES = importlib.resources.files("sealwax.policy") / "rules"


@cache
def builtin() -> Classifier:
    """The classifier by those rules.

    Raises:
        RuleError: A file was changed and is not as it has to be; the text says where.
    """
    providers = shaping_rules().providers
    return Classifier(rules_from(_read("bounce.toml"), providers.names), providers)


def _read(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((_RULES / name).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RuleError(name, "", f"is no TOML: {error}") from error
