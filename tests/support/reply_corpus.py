"""Real replies with what they have to mean: tests/fixtures/replies."""

import asyncio
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aiosmtplib import SMTPResponse
from typing_extensions import override

from sealwax.model.reply import Command, Reply
from sealwax.smtp.replies import reply_of
from sealwax.smtp.wire import Wire

FOLDER = Path(__file__).parents[1] / "fixtures" / "replies"
_FIELDS = {"case", "mx", "at", "wire", "ours", "rule", "class", "message", "recipient", "path"}


@dataclass(frozen=True)
class Entry:
    """One reply.

    Attributes:
        name: File and number, for messages.
        reply: As the session reads it off the wire.
        mx: The host that said it.
        cases: Which lines of reply_cases.toml it is an example of.
        expected: Rule, class, message, recipient, path.
        source: Where it was seen.
    """

    name: str
    reply: Reply
    mx: str
    cases: tuple[int, ...]
    expected: tuple[str, str, str, str, tuple[str, ...]]
    source: str


@cache
def entries() -> tuple[Entry, ...]:
    """All of them, read once."""
    found = [
        (path, number, table, document.get("sources"))
        for path in sorted(FOLDER.glob("*.toml"))
        for document in [tomllib.loads(path.read_text())]
        for number, table in enumerate(document["reply"], start=1)
    ]
    replies = asyncio.run(_replies([table for _, _, table, _ in found]))
    return tuple(
        _entry(f"{path.stem} {number}", table, reply, sources)
        for (path, number, table, sources), reply in zip(found, replies, strict=True)
    )


def cases() -> dict[int, str]:
    """What the corpus has to have an example of, by number."""
    named = tomllib.loads((FOLDER.parent / "reply_cases.toml").read_text())
    return {int(number): text for number, text in named.items()}


def _entry(name: str, table: dict[str, Any], reply: Reply, sources: dict[str, str] | None) -> Entry:
    unknown = table.keys() - _FIELDS - {"source"}
    assert not unknown, f"{name}: {unknown}"
    source = table.get("source", "sealwax")
    if sources is not None:
        key = source.partition(":")[0].partition(" ")[0].rstrip(",")
        assert key in sources, f"{name}: source {source!r} begins with no name of [sources]"
    return Entry(
        name,
        reply,
        table["mx"],
        tuple(table.get("case", ())),
        (
            table["rule"],
            table["class"],
            table["message"],
            table.get("recipient", "keep"),
            tuple(table.get("path", ())),
        ),
        source,
    )


async def _replies(tables: list[dict[str, Any]]) -> list[Reply]:
    return [reply async for reply in _read(tables)]


async def _read(tables: list[dict[str, Any]]) -> AsyncIterator[Reply]:
    for table in tables:
        command = Command(table["at"])
        if "ours" in table:
            yield Reply(command, **table["ours"])
        else:
            yield reply_of(command, await _off_the_wire(table["wire"]))


async def _off_the_wire(lines: list[str]) -> SMTPResponse:
    """What the protocol makes of the lines, as bytes with their ends."""
    wire = Wire(asyncio.get_running_loop())
    wire.connection_made(_Transport())
    wire.data_received("".join(f"{line}\r\n" for line in lines).encode())
    return await wire.read_response(1)


class _Transport(asyncio.Transport):
    @override
    def is_closing(self) -> bool:
        return False

    @override
    def abort(self) -> None:
        pass
