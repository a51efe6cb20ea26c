"""The kinds of values that settings have: how each is read, and what it should look like."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from sealwax.model.duration import format_duration, parse_duration
from sealwax.policy.throttle import Rate, rate_from
from sealwax.smtp.blocked import Blocked
from sealwax.smtp.route import Routes

# chDB takes its path and options as one text, without a way to escape these.
_NOT_IN_A_PATH = frozenset("?&")
_HIGHEST_PORT = 65_535
_BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,12})(B|KB|MB|GB)", re.ASCII)
_DATABASE = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]{0,62})?/?", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,40}", re.ASCII)
# As many partitions as a topic can have.
_MOST_KEYS = 500
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: Name or address; an IPv6 address without its brackets.
        port: 1 to 65535.
    """

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for a client on the same machine."""
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, never bound to
        return f"http://{Address(reachable.get(self.host, self.host), self.port)}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Attributes:
        form: What a value looks like, bounds included; ends "should be ..." and the manual's cell.
        parse: Reads it; raises ValueError or SealwaxError.
    """

    form: str
    parse: Callable[[str], Any]


def whole(lowest: int, highest: int, *, optional: bool = False) -> Kind:
    """A whole number within bounds; empty is None where `optional`."""

    def parse(text: str) -> int | None:
        if optional and not text:
            return None
        if not (text.isascii() and text.isdecimal()):
            raise ValueError
        number: int = _within(int(text), lowest, highest)
        return number

    return Kind(f"a whole number from {lowest} to {highest}", parse)


def duration(lowest: str, highest: str) -> Kind:
    """A duration within bounds."""
    low, high = parse_duration(lowest), parse_duration(highest)
    form = f"a duration from {lowest} to {highest}, such as {format_duration(low)}, 5m or 1h"
    return Kind(form, lambda text: _within(parse_duration(text), low, high))


def durations(lowest: str, highest: str) -> Kind:
    """One or more durations within bounds, separated by commas."""
    one = duration(lowest, highest)

    def parse(text: str) -> tuple[timedelta, ...]:
        return tuple(one.parse(part.strip()) for part in text.split(","))

    return Kind(f"durations from {lowest} to {highest} with commas, such as 1m,5m,1h", parse)


def size(lowest: str, *, optional: bool = False) -> Kind:
    """A number of bytes; empty is None where `optional`."""
    low = _bytes(lowest)

    def parse(text: str) -> int | None:
        return None if optional and not text else _within(_bytes(text), low, 1 << 62)

    return Kind(f"a size from {lowest}, such as 512KB, 128MB or 2GB", parse)


def word(*words: str) -> Kind:
    """One of several words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return Kind("one of " + ", ".join(words), parse)


def _switch(text: str) -> bool:
    if text.lower() not in {"on", "off"}:
        raise ValueError
    return text.lower() == "on"


def _bytes(text: str) -> int:
    form = _SIZE.fullmatch(text.upper())
    if form is None:
        raise ValueError
    return int(form[1]) * _BYTES[form[2]]


def _within(value: Any, low: Any, high: Any) -> Any:  # noqa: ANN401 - int or timedelta, kept as is
    if not low <= value <= high:
        raise ValueError
    return value


def _rate(text: str) -> Rate | None:
    return rate_from(text) if text else None


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT):
        raise ValueError
    return Address(host, int(port))


def _optional_address(text: str) -> Address | None:
    return _address(text) if text else None


def _host(text: str) -> str:
    if text and not _HOST.fullmatch(text):
        raise ValueError
    return text


def _path(text: str) -> Path:
    if not text:
        raise ValueError
    path = Path(text).expanduser().absolute()
    if _NOT_IN_A_PATH.intersection(str(path)):
        raise ValueError
    return path


def _clickhouse_url(text: str) -> str:
    parts = urlsplit(text)
    database = _DATABASE.fullmatch(unquote(parts.path))
    if text and not (parts.scheme in ("http", "https") and parts.hostname and database):
        raise ValueError
    _ = parts.port  # raises where it is none
    return text


def _namespace(text: str) -> str:
    if text and not _NAMESPACE.fullmatch(text):
        raise ValueError
    return text


def _large_domains(text: str) -> dict[str, int]:
    spread = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        domain, equals, count = part.rpartition("=")
        if not (equals and count.isascii() and count.isdecimal()):
            raise ValueError
        spread[_domain(domain)] = _within(int(count), 2, _MOST_KEYS)
    return spread


def _domain(text: str) -> str:
    """As recipients have it: an A-label in lower case."""
    if not _HOST.fullmatch(text) or "." not in text:
        raise ValueError
    return text.lower()


def _redis_url(text: str) -> str:
    if not text:
        return text
    # Imported when it is needed: commands over HTTP do without.
    from redis import ConnectionPool  # noqa: PLC0415

    try:
        ConnectionPool.from_url(text).make_connection()  # connects to nothing yet
    except (TypeError, ValueError):
        raise ValueError from None  # the text may hold a part of the password
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError
    return text


def _file(text: str) -> Path | None:
    return Path(text).expanduser().absolute() if text else None


FILE = Kind("a file", _file)
NAMESPACE = Kind("up to 40 letters, digits, `.`, `_` or `-`, such as `staging.`", _namespace)
PATH = Kind("a folder without ? and & in its full path", _path)
ADDRESS = Kind("host:port, such as 127.0.0.1:8025 or [::1]:8025", _address)
OPTIONAL_ADDRESS = Kind("host:port, such as 127.0.0.1:9464; empty for none", _optional_address)
HOST = Kind("a host name such as mail.example.com", _host)
RATE = Kind("a number and /s, /m or /h, such as 100/s or 5/m; empty for no limit", _rate)
ROUTES = Kind(
    "pattern=host:port with commas, where a pattern is a domain, *.domain or *, "
    "such as example.test=127.0.0.1:2525",
    Routes.parse,
)
BLOCKED = Kind(
    "hosts, *.domain or networks with commas, such as mx.example.test,192.0.2.0/24", Blocked.parse
)
SWITCH = Kind("on or off", _switch)
LARGE_DOMAINS = Kind(
    f"domain=2 to {_MOST_KEYS} with commas, such as example.com=8,example.net=4", _large_domains
)
REDIS_URL = Kind("redis://, rediss:// or unix://, such as redis://localhost:6379/0", _redis_url)
NAME = Kind("1 to 64 letters, digits, dots, hyphens and underscores", _name)
TEXT = Kind("text", str)
CLICKHOUSE_URL = Kind("http or https://user:password@host:8123/database", _clickhouse_url)
