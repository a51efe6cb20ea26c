"""Brings the database to the schema of this version."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sealwax.errors import ConfigurationError

MIGRATIONS = Path(__file__).parent / "migrations"

# The newest revision in migrations/versions. Named here so that a start that has nothing to
# migrate, which is nearly every one, does not load Alembic (0.2 s); a test compares.
HEAD = "0002"


def migrate(connection: Connection) -> None:
    """Runs what is missing inside the caller's transaction, which holds every other start off.

    Raises:
        ConfigurationError: The database was written by a newer sealwax.
    """
    current = _revision(connection)
    if current == HEAD:
        return
    from alembic import command  # noqa: PLC0415 - see HEAD
    from alembic.config import Config  # noqa: PLC0415 - see HEAD
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see HEAD

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"the database has schema {current}, newer than this sealwax knows ({HEAD}); "
            "install the version that wrote it, or a later one"
        )
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)
