"""The environment of the process, the only place that reads it (beside sealwax.clock)."""

import difflib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import structlog

from sealwax import telemetry
from sealwax.config.setting import PREFIX, Setting
from sealwax.config.settings import Settings
from sealwax.config.table import SETTINGS
from sealwax.errors import ConfigurationError, SealwaxError

_NOTHING: Mapping[str, str] = MappingProxyType({})
_BY_NAME = {setting.name: setting for setting in SETTINGS}
_OF_TESTS = f"{PREFIX}TEST_"


def load(overrides: Mapping[str, str] = _NOTHING) -> Settings:
    """Reads every setting.

    Args:
        overrides: Texts by variable name that win over the environment (flags of a command).

    Raises:
        ConfigurationError: A value cannot be read; the text names the variable, the value and what
            it should look like.
    """
    texts = {**os.environ, **overrides}  # noqa: TID251 - the one reader of the environment
    values = {s.key: _read(s, texts.get(s.name) or s.default) for s in SETTINGS}
    return Settings(values, tuple(name for name in sorted(texts) if _is_unknown(name)))


def start(process: str, overrides: Mapping[str, str] = _NOTHING) -> Settings:
    """`load` for the entry point of a process: sets logging up and warns of unknown variables."""
    settings = load(overrides)
    telemetry.configure(process, level=settings.log_level, form=settings.log_format)
    logger = structlog.get_logger("sealwax.config")
    for warning in warnings_of(settings):
        logger.warning(warning)
    return settings


def warnings_of(settings: Settings) -> list[str]:
    """One sentence for each variable that looks like a setting and is none."""
    return [_warning(name) for name in settings.unknown]


def child_environment(overrides: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The environment for processes that work on the same data directory with the same settings.

    Unknown variables are left out, so that one warning is enough.
    """
    texts = {**os.environ, **overrides}  # noqa: TID251 - the one reader of the environment
    known = {name: text for name, text in texts.items() if name not in settings.unknown}
    return {**known, "SEALWAX_DATA_DIR": str(settings.data_dir)}


def _read(setting: Setting, text: str) -> Any:  # noqa: ANN401 - each kind has its own type
    try:
        return setting.kind.parse(text)
    except (ValueError, SealwaxError) as error:
        shown = "the value given" if setting.secret else repr(text)
        reason = f" ({error})" if isinstance(error, SealwaxError) else ""
        raise ConfigurationError(
            f"{setting.name} cannot be {shown}{reason}; it should be {setting.kind.form}"
        ) from error


def _is_unknown(name: str) -> bool:
    return name.startswith(PREFIX) and name not in _BY_NAME and not name.startswith(_OF_TESTS)


def _warning(name: str) -> str:
    near = difflib.get_close_matches(name, _BY_NAME, n=1)
    hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists the ones there are"
    return f"{name} is no setting of sealwax and is ignored; {hint}"
