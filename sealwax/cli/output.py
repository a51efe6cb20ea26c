"""How commands print: tables and sentences for people, JSON for programs."""

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

_WIDE = 200
_DELETE = 0x7F  # the last character that `json` writes as it is
# Controls, marks that turn the direction of writing, line separators, halves of characters.
_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def say(text: str) -> None:
    """Prints a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Prints a line on standard error."""
    sys.stderr.write(f"sealwax: {text}\n")
    sys.stderr.flush()


def say_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold, dataclasses and times too
    """Prints a value as indented JSON; times are RFC 3339."""
    text = msgspec.json.format(msgspec.json.encode(value)).decode()
    say("\n".join(_escaped(line, _json_escape) for line in text.split("\n")))


def plain(text: str) -> str:
    """Text of others on one line: what would steer the terminal is shown as an escape."""
    return _escaped(text, lambda c: f"\\x{ord(c):02x}")


def _escaped(text: str, escape: Callable[[str], str]) -> str:
    return "".join(escape(c) if unicodedata.category(c) in _STEERING else c for c in text)


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) > _DELETE else f"\\u{ord(character):04x}"


def say_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: bool = False
) -> None:
    """Prints a table.

    Args:
        headings: One a column.
        rows: Text cells, taken literally.
        right: Whether all columns but the first are numbers, set to the right.
    """
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only commands that draw pay for the import
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for n, heading in enumerate(headings):
        table.add_column(heading, justify="right" if right and n else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # Into a file or a pipe lines stay whole, so that `grep` finds what belongs together.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
