"""`sealwax up`: the whole platform on one data directory."""

import inspect
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sealwax.cli import preflight
from sealwax.cli.child import ARGUMENTS
from sealwax.cli.output import say
from sealwax.cli.supervisor import Supervisor, patience
from sealwax.config import Address, Settings, child_environment, start
from sealwax.config.table import SETTINGS
from sealwax.errors import ConfigurationError
from sealwax.store.relational import Store, StoreAwayError, open_store

# Below it not even outcomes of mail on the wire could be stored for long.
_LEAST_FREE_BYTES = 64 << 20
_OPERATOR = "operator"
_FIRST = "first"
_OF_UP = {setting.key: setting for setting in SETTINGS if setting.of_up}


def up(**flags: str | None) -> None:
    """Start the whole platform on one data directory.

    Ctrl-C stops it: mail on the wire gets its answer first. A second Ctrl-C stops it at once.
    """
    given = {_OF_UP[key].name: text for key, text in flags.items() if text is not None}
    settings = start("up", given)
    try:
        run(settings, child_environment(given, settings))
    except OSError as error:
        raise ConfigurationError(f"cannot start: {error}") from error


def _flag(key: str) -> inspect.Parameter:
    setting = _OF_UP[key]
    default = setting.computed or setting.default
    help_text = f"{setting.doc} Default: {default}. [{setting.name}]"
    return inspect.Parameter(
        key,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, Parameter(name=setting.flag, help=help_text)],
    )


# The flags are the table of settings, so that none is forgotten or differs from its variable.
up.__signature__ = inspect.Signature([_flag(key) for key in _OF_UP])  # type: ignore[attr-defined] # read by inspect.signature


def run(
    settings: Settings,
    environment: Mapping[str, str],
    programs: Mapping[str, Sequence[str]] = ARGUMENTS,
) -> None:
    """Checks that the platform may start, and runs it until it is stopped.

    Args:
        settings: Of this process.
        environment: Of the processes that are started.
        programs: What Python is started with, by name.

    Raises:
        SealwaxError: It may not start; nothing was started.
    """
    preflight.check_shaping(settings)
    preflight.check_directory(settings.data_dir)
    preflight.check_disk(settings.data_dir, min(_LEAST_FREE_BYTES, settings.min_free_bytes))
    with preflight.only_supervisor(settings.data_dir):
        preflight.wait_for_survivors(settings.data_dir, patience(settings))
        preflight.check_flows(settings.data_dir)
        preflight.check_log(settings)
        preflight.check_port(settings.http)
        if settings.metrics is not None:
            metrics = Address(*settings.metrics)
            if metrics == settings.http:
                raise ConfigurationError(
                    f"SEALWAX_METRICS and SEALWAX_HTTP are both {metrics}: set another one"
                )
            preflight.check_port(metrics, "the metrics'", "SEALWAX_METRICS")
        preflight.wait_for_kafka(settings.log)
        with closing(open_store(settings.relational)) as store:
            write_operator_key(store, settings.operator_key_file)
            ready = partial(_announce, settings, store)
            Supervisor(settings, environment, ready, programs).run()


def write_operator_key(store: Store, path: Path) -> None:
    """Keeps a key of the first tenant for commands on this machine, readable by its owner alone.

    Made where there is none, or where the one in the file opens nothing any more.
    """
    if path.exists() and store.tenant_of_key(path.read_text().strip()) is not None:
        return
    created = store.create_key(store.default_tenant().id, _OPERATOR)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(created.key + "\n")
    part.replace(path)


def _announce(settings: Settings, store: Store) -> None:
    say(f"sealwax is ready. The API is at {settings.http.url}")
    try:
        tenant = store.default_tenant().id
        if all(key.name == _OPERATOR for key in store.keys(tenant)):
            created = store.create_key(tenant, _FIRST)
            say(f"Your first API key, shown only this once: {created.key}")
    except StoreAwayError as error:
        say(f"No first API key was made ({error}): make one by `sealwax keys create`.")
    say("Stop it with Ctrl-C.")
    store.close()
