"""A mail sink: an SMTP server that keeps every message as a file and delivers none.

Run it by `make sink`, or alone: python tests/support/mail_sink.py --listen 127.0.0.1:2525 --dir mail

DIR holds one .eml file a message, as it came, and index.jsonl with one line a message: `id` (its
X-Sealwax-Id), `file`, `mail_from`, `rcpts`, `ts`, `size`, `tls`, `peer`, `ehlo`. A message is stored before
its 250. Of refusals that --reply asks for nothing is stored. With --index-only there are no files, and no
line is printed of a message: a load costs the sink less than what it tests.
"""

import argparse
import asyncio
import datetime as dt
import email.parser
import email.policy
import fnmatch
import json
import random
import re
import signal
import ssl
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import trustme
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session
from typing_extensions import override

STEPS = ("MAIL", "RCPT", "DOT")
_LARGEST_BYTES = 50_000_000
_PLAIN = re.compile(r"<([a-zA-Z0-9.+=_-]{1,64}@[a-zA-Z0-9.-]+)>(.*)")
_ID = re.compile(rb"^X-Sealwax-Id: *(\S+)\r\n", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """A refusal: `STEP[=PATTERN]:TEXT[:times=N]`."""

    step: str
    pattern: str
    text: str
    times: int | None

    @classmethod
    def parse(cls, argument: str) -> "Rule":
        where, colon, text = argument.partition(":")
        step, _, pattern = where.partition("=")
        times = None
        head, marker, number = text.rpartition(":times=")
        if marker:
            text, times = head, int(number)
        if step not in STEPS or not colon or not text[:3].isdecimal():
            raise argparse.ArgumentTypeError(
                f"{argument!r} is not STEP[=PATTERN]:CODE TEXT[:times=N] with STEP one of {STEPS}"
            )
        return cls(step, pattern or "*", text, times)


class Moods:
    """What the sink does without a rule: pauses before its last reply, and refusals by chance."""

    _SLOW_S = 3.0

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._pause_dot_s: float = arguments.pause_dot
        self._pauses: int | None = arguments.pauses
        self._later: float = arguments.sometimes_later
        self._slow: float = arguments.sometimes_slow
        self._chance = random.Random(arguments.seed)

    def refuses(self) -> bool:
        return self._chance.random() < self._later

    def pause_s(self, number: int) -> float:
        """Before the reply to the final dot of message `number`."""
        if self._chance.random() < self._slow:
            return self._SLOW_S
        return self._pause_dot_s if self._pauses is None or number <= self._pauses else 0


class Receiver(SMTP):
    """An SMTP session; the plain addresses that our own client writes are read fast."""

    @override
    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        plain = _PLAIN.fullmatch(arg)
        return (plain[1], plain[2]) if plain else super()._getaddr(arg)


class Keeper:
    """aiosmtpd's handler: refuses by the rules, keeps the rest."""

    # ruff: noqa: ARG002 - aiosmtpd decides what its hooks are given

    def __init__(self, directory: Path, rules: list[Rule], moods: Moods, *, files: bool) -> None:
        self._directory = directory
        self._files = files
        self._rules = rules
        self._moods = moods
        self._refused: Counter[tuple[Rule, str]] = Counter()
        self._index = (directory / "index.jsonl").open("a")
        self._kept = sum(1 for _ in directory.glob("*.eml"))

    def _refusal(self, step: str, address: str) -> str | None:
        for rule in self._rules:
            if rule.step != step or not fnmatch.fnmatchcase(address.lower(), rule.pattern):
                continue
            if rule.times is not None and self._refused[rule, address] >= rule.times:
                continue
            self._refused[rule, address] += 1
            say(f"refused {step} {address}: {rule.text}")
            return rule.text
        return None

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *responses[1:]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = self._refusal("MAIL", address or "")
        if refusal is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return refusal or "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = self._refusal("RCPT", address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return refusal or "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        for rcpt in envelope.rcpt_tos:
            refusal = self._refusal("DOT", rcpt)
            if refusal is not None:
                return refusal
        if self._moods.refuses():
            return "451 4.3.2 not now"
        file = self._keep(session, envelope)
        await asyncio.sleep(self._moods.pause_s(self._kept))
        return f"250 2.0.0 kept as {file}"

    def _keep(self, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        self._kept += 1
        file = f"{self._kept:06}.eml"
        named = _ID.search(content.partition(b"\r\n\r\n")[0] + b"\r\n")
        line = {
            "id": named[1].decode() if named else "",
            "file": file,
            "mail_from": envelope.mail_from or "",
            "rcpts": envelope.rcpt_tos,
            "ts": time.time(),
            "size": len(content),
            "tls": session.ssl is not None,
            "peer": session.peer[0] if session.peer else "",
            "ehlo": session.host_name,
        }
        self._index.write(json.dumps(line) + "\n")
        self._index.flush()
        if self._files:
            (self._directory / file).write_bytes(content)
            rcpts = ", ".join(envelope.rcpt_tos)
            say(f"{file} <{line['mail_from']}> -> {rcpts}: {_subject(content)}")
        return file


def _subject(content: bytes) -> str:
    parser = email.parser.BytesHeaderParser(policy=email.policy.default)
    return str(parser.parsebytes(content.partition(b"\r\n\r\n")[0]).get("Subject", ""))


def say(text: str) -> None:
    print(f"sink: {text}", flush=True)


def self_signed() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("sink.test", "127.0.0.1").configure_cert(context)
    return context


async def serve(arguments: argparse.Namespace) -> None:
    arguments.dir.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(
        arguments.dir, arguments.reply, Moods(arguments), files=not arguments.index_only
    )
    tls = self_signed() if arguments.tls else None
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return Receiver(
            keeper,
            hostname="sink.test",
            ident="sealwax mail sink",
            data_size_limit=_LARGEST_BYTES,
            tls_context=tls,
            loop=loop,
        )

    host, _, port = arguments.listen.rpartition(":")
    try:
        server = await loop.create_server(session, host.strip("[]"), int(port), backlog=1024)
    except OSError as error:
        sys.exit(f"sink: cannot listen on {arguments.listen}: {error.strerror}")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    bound = server.sockets[0].getsockname()
    since = dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")
    say(f"listening on {bound[0]}:{bound[1]}, mail goes to {arguments.dir}, since {since}")
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--listen", default="127.0.0.1:2525", help="host:port; port 0 = any free")
    parser.add_argument("--dir", type=Path, default=Path("sink-mail"))
    parser.add_argument("--index-only", action="store_true", help="keep no files, for much mail")
    parser.add_argument("--tls", action="store_true", help="offer STARTTLS, self-signed")
    parser.add_argument(
        "--reply",
        type=Rule.parse,
        action="append",
        default=[],
        help="STEP[=PATTERN]:CODE TEXT[:times=N], repeatable; STEP is MAIL, RCPT or DOT;\n"
        "PATTERN matches the address; N times for each address, then no more",
    )
    parser.add_argument("--pause-dot", type=float, default=0, help="seconds before the dot's reply")
    parser.add_argument("--pauses", type=int, help="pause for the first messages only, so many")
    parser.add_argument(
        "--sometimes-later", type=float, default=0, help="share of messages refused with 451"
    )
    parser.add_argument(
        "--sometimes-slow", type=float, default=0, help="share of replies that take three seconds"
    )
    parser.add_argument("--seed", type=int, help="of those chances")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
