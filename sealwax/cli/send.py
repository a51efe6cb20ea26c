"""`sealwax send`: one email through the API."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sealwax.cli.client import Client
from sealwax.cli.output import say
from sealwax.errors import ConfigurationError
from sealwax.model.event import TERMINAL, Kind
from sealwax.model.topics import Stream

_LOOK_AGAIN_S = 0.5

Addresses = Annotated[list[str] | None, Parameter(negative=(), help="Repeat it for more.")]


def send(  # noqa: PLR0913 - the flags of the command
    *,
    author: Annotated[str, Parameter(name="--from", help="Its domain must be one of yours.")],
    to: Annotated[list[str], Parameter(negative=(), help="Repeat it for more.")],
    cc: Addresses = None,
    bcc: Addresses = None,
    reply_to: Addresses = None,
    subject: str | None = None,
    html: Annotated[str | None, Parameter(help="The HTML body.")] = None,
    html_file: Annotated[Path | None, Parameter(help="File with the HTML body.")] = None,
    text: Annotated[str | None, Parameter(help="The text body.")] = None,
    data: Annotated[
        str | None,
        Parameter(help="JSON object; with it subject, html and text are Handlebars templates."),
    ] = None,
    template: Annotated[str | None, Parameter(help="Name or id of a stored template.")] = None,
    stream: Stream | None = None,
    give_up_after: Annotated[str | None, Parameter(help="Such as 30m or 4h.")] = None,
    wait: Annotated[
        bool, Parameter(negative=(), help="Wait for the verdicts; status 1 unless all delivered.")
    ] = False,
) -> None:
    """Send one email and print its id."""
    body = {
        "from": author,
        "to": to,
        "cc": cc,
        "bcc": bcc,
        "reply_to": reply_to,
        "subject": subject,
        "html": _file(html_file) if html_file is not None else html,
        "text": text,
        "data": None if data is None else _object(data),
        "template": None if template is None else {"id": template},
        "stream": stream,
        "give_up_after": give_up_after,
    }
    with Client() as client:
        email_id = client.post("/v1/emails", {k: v for k, v in body.items() if v is not None})["id"]
        say(email_id)
        if not wait:
            if sys.stdout.isatty():  # a program wants the id alone
                say(f"Its way: sealwax trace {email_id}")
            return
        if not _all_delivered(client, email_id):
            sys.exit(1)


def _all_delivered(client: Client, email_id: str) -> bool:
    """Waits until every recipient has a final verdict and prints them."""
    while True:
        email = client.get(f"/v1/emails/{email_id}")
        if email.get("status") == Kind.REJECTED:
            say(f"rejected; see: sealwax trace {email_id}")
            return False
        recipients = email["recipients"]
        verdicts = [r.get("verdict") for r in recipients]
        if verdicts and all(verdict in TERMINAL for verdict in verdicts):
            break
        time.sleep(_LOOK_AGAIN_S)
    for recipient in recipients:
        reply = recipient.get("reply") or ""
        say(f"{recipient['address']}  {recipient['verdict']}  {_one_line(reply)}".rstrip())
    return all(verdict == Kind.DELIVERED for verdict in verdicts)


def _one_line(reply: Any) -> str:  # noqa: ANN401 - text, or an object of code, status and text
    if isinstance(reply, dict):
        return " ".join(str(part) for part in reply.values() if part)
    return str(reply)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--data is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError('--data must be a JSON object, such as \'{"name": "Ada"}\'')
    return value


def _file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
