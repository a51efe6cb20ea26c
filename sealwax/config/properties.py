"""Files of properties, as Kafka's own tools read them."""

from pathlib import Path

from sealwax.errors import ConfigurationError


def read_properties(path: Path | None) -> dict[str, str]:
    """Reads `name=value` lines; those that are empty or begin with `#` are comments.

    Raises:
        ConfigurationError: The file cannot be read, or a line is something else. No value is shown,
            since it may be a password.
    """
    if path is None:
        return {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the file of properties {path}: {error}") from error
    found = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigurationError(f"line {number} of {path} is not `name=value`")
        found[name.strip()] = value.strip()
    return found
