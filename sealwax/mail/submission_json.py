"""The JSON of a submission: names and types, before any rule about their content."""

import re
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct, field

from sealwax.mail.submission_error import SubmissionError

# Deeper data is an attack or a mistake; the JSON libraries on its way stop at 128 to 1,000.
DATA_LEVELS = 64
_INT_BITS = 64

_Texts = str | list[str] | None


class AttachmentJson(Struct):
    """An element of `attachments`."""

    filename: str | None = None
    content: str | list[int] | None = None
    content_type: str | None = None
    content_id: str | None = None
    inline_content_id: str | None = None
    path: str | None = None


class TagJson(Struct):
    """An element of `tags`."""

    name: str | None = None
    value: str | None = None


class TemplateJson(Struct):
    """The object `template`."""

    id: str | None = None
    variables: dict[str, Any] | None = None
    version: int | None = None


class EmailJson(Struct):
    """The body of POST /v1/emails; null is the same as absent.

    Unknown fields are ignored, since Resend's libraries send some that are not ours (`topic_id`).
    """

    author: str | None = field(name="from", default=None)
    to: _Texts = None
    cc: _Texts = None
    bcc: _Texts = None
    reply_to: _Texts = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    headers: dict[str, str] | None = None
    attachments: list[AttachmentJson] | None = None
    tags: list[TagJson] | None = None
    scheduled_at: str | None = None
    template: TemplateJson | None = None
    data: dict[str, Any] | None = None
    stream: str | None = None
    give_up_after: str | None = None


_DECODER = msgspec.json.Decoder(EmailJson)


def decode(value: bytes | dict[str, Any], max_bytes: int) -> EmailJson:
    """Reads the object. Raises SubmissionError, and nothing else whatever the bytes are."""
    octets = value if isinstance(value, bytes) else _encoded(value)
    if len(octets) > max_bytes:
        raise SubmissionError(
            "",
            f"The request has {len(octets):,} bytes; {max_bytes:,} is the most",
            "Send less, or put large files on a web server and link to them",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        )
    try:
        if not octets.isascii():
            octets.decode()  # the decoder skips unknown fields unread, other readers do not
        email = _DECODER.decode(octets)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(str(error)) from error
    except RecursionError as error:
        raise _not_json("it is nested too deep") from error
    if email.data is not None:
        _check_data("data", email.data)
    if email.template is not None and email.template.variables is not None:
        _check_data("template.variables", email.template.variables)
    return email


def _encoded(value: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(str(error)) from error


def _not_json(reason: str) -> SubmissionError:
    return SubmissionError(
        "",
        f"The request is not valid JSON in UTF-8: {reason}",
        "Send one JSON object, written by a JSON library",
        HTTPStatus.BAD_REQUEST,
    )


_TYPE_ERROR = re.compile(
    r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`"
    r"(?: - at `(?:key in )?(?P<path>[^`]*)`)?"
)
_PLAIN = {
    "str": "text",
    "array": "a list",
    "object": "an object",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}


def _wrong_type(message: str) -> SubmissionError:
    """The decoder's error in the words of the API's documentation."""
    found = _TYPE_ERROR.search(message)
    if found is None:
        text, _, path = message.partition(" - at ")
        return SubmissionError(
            _field(path.strip("`")), text, "Change the value to one in the range of JSON numbers"
        )
    wanted = [_PLAIN.get(w, w) for w in found["wanted"].split(" | ") if w != "null"]
    return SubmissionError(
        _field(found["path"] or ""),
        f"This must be {' or '.join(wanted)}, not {_PLAIN.get(found['got'], found['got'])}",
        "Change the type of the value",
    )


def _field(path: str) -> str:
    # `$.headers[...]` is some value of an object whose keys msgspec does not name.
    return path.removeprefix("$").removeprefix(".").replace("[...]", "")


def _check_data(field: str, data: dict[str, Any]) -> None:
    """Refuses what the renderer would not see as it was written."""
    # With the name of the nearest key, by reference: whole paths of hostile data would fill memory.
    rest: list[tuple[int, str, Any]] = [(1, "", data)]
    while rest:
        level, key, value = rest.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise _bad_value(field, key, "contains the character U+0000", "Leave it out")
        elif isinstance(value, (dict, list)):
            if level > DATA_LEVELS:
                problem = f"is nested more than {DATA_LEVELS} deep"
                raise _bad_value(field, key, problem, "Send it flatter")
            if isinstance(value, dict):
                rest.extend((level + 1, name, item) for name, item in value.items())
                rest.extend((level + 1, name, name) for name in value)
            else:
                rest.extend((level + 1, key, item) for item in value)
        elif isinstance(value, int) and value.bit_length() >= _INT_BITS:
            problem = f"is too large for a signed number of {_INT_BITS} bits"
            raise _bad_value(field, key, problem, "Send it as text")


def _bad_value(field: str, key: str, problem: str, fix: str) -> SubmissionError:
    return SubmissionError(field, f"The value of {key[:40]!r} {problem}", fix)
