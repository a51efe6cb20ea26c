"""Where the relational store is."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import URL


@dataclass(frozen=True, slots=True)
class RelationalSettings:
    """What `open_store` needs.

    Attributes:
        url: A SQLAlchemy URL, `sqlite:///file` or `postgresql://...`.
        master_key_file: 64 hexadecimal digits, mode 0600; made where there is neither a key nor
            a database that was sealed with one.
        sending_host: Host name whose addresses send the mail; named in the SPF record. Empty: the
            record names the domain's own A and MX hosts.
        timeout: How long a call waits for a database that others write to.
    """

    url: str
    master_key_file: Path
    sending_host: str = ""
    timeout: timedelta = timedelta(seconds=15)


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(file)).render_as_string()
