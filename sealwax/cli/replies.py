"""`sealwax replies`: what replies of servers mean, and those that no rule knows."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

from cyclopts import App, Parameter

from sealwax import clock
from sealwax.cli.options import Json
from sealwax.cli.output import complain, plain, say, say_json, say_table
from sealwax.config import load
from sealwax.errors import ConfigurationError
from sealwax.model.duration import DurationError, parse_duration
from sealwax.model.reply import Command, Reply
from sealwax.policy.classify.builtin import builtin
from sealwax.policy.classify.fates import Classified, MessageFate
from sealwax.policy.classify.wording import wording
from sealwax.smtp.replies import reply_from
from sealwax.store.analytics.opening import open_analytics
from sealwax.store.analytics.port import MOST_REPLIES, Row

app = App(name="replies", help="Replies of servers: explain one, list the unknown.")

_MOST_SAMPLES = 3
_LONGEST = timedelta(days=90)  # events are kept for as long
_HEADINGS = ("provider", "command", "code", "count", "first (UTC)", "last (UTC)", "reply")


@app.command
def explain(
    text: Annotated[str, Parameter(help="The reply as the server said it, '550 5.1.1 ...'.")],
    /,
    *,
    mx: Annotated[str, Parameter(help="The MX host that answered.")] = "",
    command: Annotated[str, Parameter(help="What it answered: MAIL, RCPT, DATA, DOT ...")] = "RCPT",
    json: Json = False,
) -> None:
    """Say which rule knows a reply, and what follows for message, recipient and path."""
    reply = _reply(text, command)
    classified = builtin().classify(reply, mx)
    if json:
        say_json(_facts(reply, classified))
        return
    say(f"rule       {classified.rule}, version {classified.rule_version}")
    say(f"class      {classified.reply_class}")
    say(f"provider   {_provider(classified, mx)}")
    say(f"message    {_message(classified.message)}")
    say(f"recipient  {classified.recipient}")
    say(f"path       {', '.join(map(str, classified.path)) or 'nothing'}")
    if classified.fix:
        say(f"to do      {plain(classified.fix)}")


@app.command
def unknown(
    *,
    since: Annotated[str, Parameter(help="How far back to look, such as 12h or 7d.")] = "7d",
    json: Json = False,
) -> None:
    """List replies that no rule knew, of all tenants: one wording a line, the most frequent first.

    A rule for one, with a reply as its proof, makes it known: docs/replies.md.
    """
    start = clock.now() - _span(since)
    with closing(open_analytics(load().analytics)) as analytics:
        rows = analytics.unknown_replies(start)
    if len(rows) >= MOST_REPLIES:
        complain(f"only the last {MOST_REPLIES:,} are counted; a shorter --since counts all")
    groups = grouped(rows)
    if json:
        say_json({"data": [group.facts() for group in groups]})
        return
    if not groups:
        say(f"Every reply of the last {since} was known by a rule.")
        return
    say_table(_HEADINGS, [group.cells() for group in groups])


@dataclass
class Group:
    """Replies of the same wording, to the same command, from the same provider.

    Attributes:
        provider: Whose hosts said it; empty where that is not known.
        command: What they answered.
        code: The code.
        status: The enhanced status.
        words: The wording.
        count: How many.
        first_at: When it was said first, ISO text.
        last_at: And last.
        samples: Some as they were, the last said first.
    """

    provider: str
    command: str
    code: int
    status: str
    words: str
    count: int = 0
    first_at: str = ""
    last_at: str = ""
    samples: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Counts a reply."""
        self.count += row["n"]
        self.first_at = min(self.first_at or row["first_at"], row["first_at"])
        self.last_at = max(self.last_at, row["last_at"])
        if len(self.samples) < _MOST_SAMPLES:
            self.samples.append(_said(row["code"], row["status"], row["reply"]))

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "provider": self.provider,
            "command": self.command,
            "code": self.code,
            "status": self.status,
            "reply": self.words,
            "count": self.count,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "samples": self.samples,
        }

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        reply = f"{self.status} {self.words}".strip()
        return (
            self.provider or "-",
            self.command,
            str(self.code),
            str(self.count),
            _minute(self.first_at),
            _minute(self.last_at),
            plain(reply),
        )


def grouped(rows: Iterable[Row]) -> list[Group]:
    """Replies by their wording, the most frequent first."""
    groups: dict[tuple[str, str, int, str, str], Group] = {}
    for row in rows:
        words = wording(row["reply"])
        key = (row["provider"], row["command"], row["code"], row["status"], words)
        groups.setdefault(key, Group(*key)).add(row)
    return sorted(groups.values(), key=lambda group: (-group.count, group.words))


def _reply(text: str, command: str) -> Reply:
    known = set(Command)
    if command.upper() not in known:
        raise ConfigurationError(
            f"--command {plain(command)!r} is no step of a session; there are: {', '.join(Command)}"
        )
    try:
        return reply_from(Command(command.upper()), text)
    except ValueError:
        raise ConfigurationError(
            f"{plain(text[:60])!r} is no reply: give it with its code, as the server said it, such "
            "as '550 5.1.1 No such user' (0 in place of a code where none came)"
        ) from None


def _span(since: str) -> timedelta:
    try:
        span = parse_duration(since)
    except DurationError as error:
        raise ConfigurationError(f"--since: {error}") from None
    if not timedelta() < span <= _LONGEST:
        raise ConfigurationError(
            f"--since {since}: events are kept for 90 days; say a time from 1s to 90d"
        )
    return span


def _provider(classified: Classified, mx: str) -> str:
    if classified.provider:
        return f"{classified.provider} ({builtin().providers.names[classified.provider]})"
    return f"none is known for {plain(mx)}" if mx else "not asked for: --mx says who answered"


def _message(fate: MessageFate) -> str:
    return str(fate) if fate.fails or fate.at_once or fate.after_ms else f"{fate}, by the schedule"


def _facts(reply: Reply, classified: Classified) -> dict[str, Any]:
    return {
        "command": reply.command,
        "code": reply.code,
        "status": reply.status,
        "text": reply.text,
        "rule": classified.rule,
        "rule_version": classified.rule_version,
        "class": classified.reply_class,
        "provider": classified.provider,
        "message": str(classified.message),
        "recipient": str(classified.recipient),
        "path": [str(fate) for fate in classified.path],
        "fix": classified.fix,
    }


def _said(code: int, status: str, text: str) -> str:
    return " ".join(part for part in (str(code), status, text) if part)


def _minute(at: str) -> str:
    """`2026-11-24T08:00:00.250Z` as people read it."""
    return at[:16].replace("T", " ")
