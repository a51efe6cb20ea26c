"""The JSON Schema of a submission: for producers, the OpenAPI and the AsyncAPI document.

Names and types come of the code that reads submissions, limits and patterns of what it checks them
by. A property test holds that schema and code accept the same, but for the rules of `BEYOND`.
`python -m sealwax.mail.submission_schema` writes docs/schemas/email-requested.schema.json.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sealwax.mail.submission import (
    SUBJECT_CHARACTERS,
    TEMPLATE_ID_CHARACTERS,
    TEMPLATE_VERSIONS,
    SubmissionLimits,
)
from sealwax.mail.submission_json import DATA_LEVELS, EmailJson
from sealwax.mail.submission_parts import (
    CONTENT_ID,
    CONTROL,
    FILENAME_CHARACTERS,
    HEADER_NAME,
    LINE_BREAK_OR_CONTROL,
    MAX_TAGS,
    MEDIA_TYPE,
    MEDIA_TYPE_CHARACTERS,
    RESERVED_HEADERS,
    TAG,
    WORD_CHARACTERS,
)
from sealwax.model.address import MAILBOX_CHARACTERS
from sealwax.model.duration import DURATION
from sealwax.model.topics import STREAMS

Schema = dict[str, Any]

_LIMITS: Final = SubmissionLimits()
# What a schema cannot say, or not in words that anybody could read. The name is how documents and
# tests call the rule.
BEYOND: Final[Mapping[str, str]] = {
    "size": f"The value has at most {_LIMITS.max_bytes:,} bytes.",
    "addresses": "An address is one mailbox as RFC 5322 writes it, with a domain of two labels or "
    "more; before the @ it is ASCII.",
    "recipients": f"to, cc and bcc together have at most {_LIMITS.max_recipients} addresses.",
    "long words": f"No word of a header's value has over {WORD_CHARACTERS} characters.",
    "base64": "The content of an attachment is whole base64, with its padding.",
    "tag names": "No two tags have the same name.",
    "template names": "A template's id is printable.",
    "data depth": f"data and template.variables are at most {DATA_LEVELS} levels deep.",
    "data numbers": "Whole numbers in them fit into 64 bits, signed.",
    "whole numbers": "A whole number is written without a decimal point or exponent.",
    "durations": "give_up_after is between 1m and 7d.",
    "times": "scheduled_at is a time of ISO 8601 with its zone, and not in the future.",
    "streams": "The stream of a record is that of its topic.",
}  # fmt: skip
EXAMPLES: Final = (
    {
        "from": "Acme <hello@acme.test>",
        "to": ["ada@example.test"],
        "subject": "Hi {{name}}",
        "html": "<p>Hello {{name}}</p>",
        "data": {"name": "Ada"},
        "tags": [{"name": "order", "value": "17"}],
    },
    {
        "from": "billing@acme.test",
        "to": '"Lovelace, Ada" <ada@example.test>',
        "reply_to": "support@acme.test",
        "subject": "Your receipt",
        "text": "Thank you.",
        "headers": {"X-Order-Id": "17"},
        "attachments": [{"filename": "receipt.txt", "content": "VGhhbmsgeW91Lg=="}],
        "stream": "transactional",
        "give_up_after": "12h",
    },
    {
        "from": "hello@acme.test",
        "to": "ada@example.test",
        "template": {"id": "welcome", "version": 1, "variables": {"name": "Ada"}},
    },
)


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


def _without(pattern: re.Pattern[str]) -> str:
    """The pattern of texts that have no character of a class."""
    return f"^[^{pattern.pattern[1:-1]}]*$"


def _any_case(text: str) -> str:
    # ECMA-262 has no flag inside of a pattern.
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in text)


_RESERVED = "|".join(_any_case(name) for name in sorted(RESERVED_HEADERS))
_NO_NUL = {"pattern": r"^[^\x00]*$"}
_IN_LINE = CONTROL.pattern[1:-1]
_MAILBOX = {
    "minLength": 3,
    "maxLength": MAILBOX_CHARACTERS,
    "pattern": f"^[^{_IN_LINE}]+@[^{_IN_LINE}]+$",
}
# A text, or a list of texts: a keyword of strings says nothing of a list.
_MAILBOXES = {**_MAILBOX, "items": _MAILBOX, "maxItems": _LIMITS.max_recipients}
_GIVEN_ID = {"pattern": f"^(?:{CONTENT_ID.pattern}|<{CONTENT_ID.pattern}>)?$"}
_TAG_TEXT = {"type": "string", "pattern": _whole(TAG)}
_BODY = {"type": "string", "minLength": 1}

# Type -> field -> what its value must be beside its type, and what it means.
_FIELDS: Final[dict[str, dict[str, Schema]]] = {
    "EmailJson": {
        "from": {
            "type": "string",
            **_MAILBOX,
            "description": "Author; the domain must be one of yours. `Name <a@b.example>` or the "
            "bare address.",
        },
        "to": {
            "type": ["string", "array"],
            "minItems": 1,
            **_MAILBOXES,
            "description": f"1 to {_LIMITS.max_recipients} recipients, with cc and bcc together.",
        },
        "cc": _MAILBOXES,
        "bcc": {**_MAILBOXES, "description": "Recipients that the message does not name."},
        "reply_to": _MAILBOXES,
        "subject": {
            "maxLength": SUBJECT_CHARACTERS,
            "pattern": _without(LINE_BREAK_OR_CONTROL),
            "description": "One line. Handlebars where `data` is present.",
        },
        "html": {
            **_NO_NUL,
            "description": "Body. Handlebars where `data` is present; values are escaped.",
        },
        "text": {**_NO_NUL, "description": "Body. Made from html where it is absent."},
        "headers": {
            "propertyNames": {
                "pattern": f"^(?!(?:{_RESERVED})$|{_any_case('content-')}){HEADER_NAME.pattern}$"
            },
            "additionalProperties": {"pattern": _without(LINE_BREAK_OR_CONTROL)},
            "description": "Header fields of your own, by name; none of those that sealwax writes.",
        },
        "attachments": {"description": "Files: content in base64, or as a list of bytes."},
        "tags": {"maxItems": MAX_TAGS, "description": "What events and counts carry along."},
        "scheduled_at": {"description": "ISO 8601; a time in the future is not yet available."},
        "template": {"description": "A stored template instead of html and text."},
        "data": {
            "description": "Values for Handlebars; with it (even `{}`) subject, html and text are "
            "templates."
        },
        "stream": {
            "enum": [*STREAMS, None],
            "description": "`transactional` (default) or `marketing`. A record's topic decides it; "
            "here it may only say the same.",
        },
        "give_up_after": {
            "pattern": _whole(DURATION),
            "description": "How long it is tried: 1m to 7d, such as 15m or 24h.",
        },
    },
    "AttachmentJson": {
        "filename": {
            "type": "string",
            "minLength": 1,
            "maxLength": FILENAME_CHARACTERS,
            "pattern": _without(CONTROL),
        },
        "content": {
            "type": ["string", "array"],
            "pattern": r"^[A-Za-z0-9+/\r\n]*[=\r\n]*$",
            "items": {"minimum": 0, "maximum": 255},
            "description": "Base64, in which line breaks may stand, or a list of bytes.",
        },
        "content_type": {
            "maxLength": MEDIA_TYPE_CHARACTERS,
            "pattern": f"^(?!{_any_case('multipart/')}){_whole(MEDIA_TYPE)[1:]}",
            "description": "Made from the file name where it is absent.",
        },
        "content_id": {**_GIVEN_ID, "description": "For `cid:` in html; makes it inline."},
        "inline_content_id": {"description": "The same; counts where content_id is absent."},
        "path": {"type": "null", "description": "Fetching from a URL is not yet available."},
    },
    "TagJson": {"name": _TAG_TEXT, "value": _TAG_TEXT},
    "TemplateJson": {
        "id": {
            "type": "string",
            "minLength": 1,
            "maxLength": TEMPLATE_ID_CHARACTERS,
            "pattern": _without(CONTROL),
            "description": "Its name or id.",
        },
        "version": {
            "minimum": 1,
            "exclusiveMaximum": TEMPLATE_VERSIONS,
            "description": "The newest where it is absent.",
        },
        "variables": {"description": "The same as `data`; one of the two."},
    },
}
_OF_TEMPLATE = {"required": ["template"], "properties": {"template": {"type": "object"}}}
_TYPES: Final[dict[str, Schema]] = {
    "EmailJson": {
        "description": "An email to send. null is the same as absent; unknown fields are ignored.",
        "required": ["from", "to"],
        "if": _OF_TEMPLATE,
        "then": {
            "properties": {"html": {"type": "null"}, "text": {"type": "null"}},
            "not": {
                "required": ["data"],
                "properties": {
                    "data": {"type": "object"},
                    "template": {
                        "required": ["variables"],
                        "properties": {"variables": {"type": "object"}},
                    },
                },
            },
        },
        "else": {
            "required": ["subject"],
            "properties": {"subject": {"type": "string", "minLength": 1}},
            "anyOf": [
                {"required": ["html"], "properties": {"html": _BODY}},
                {"required": ["text"], "properties": {"text": _BODY}},
            ],
        },
    },
    "AttachmentJson": {
        "required": ["filename", "content"],
        "anyOf": [
            {"required": ["content_id"], "properties": {"content_id": _BODY}},
            {"properties": {"inline_content_id": _GIVEN_ID}},
        ],
    },
    "TagJson": {"required": ["name", "value"]},
    "TemplateJson": {"required": ["id"]},
}


def components(ref: str) -> dict[str, Schema]:
    """The schemas by name, for an OpenAPI or AsyncAPI document.

    Args:
        ref: How one names another: `#/components/schemas/{name}`.
    """
    _, found = msgspec.json.schema_components([EmailJson], ref_template=ref)
    value = {"$ref": ref.format(name="Value")}
    data = {"propertyNames": _NO_NUL, "additionalProperties": value}
    for name, type_ in found.items():
        fields = {
            field: _merged(_flat(of), _FIELDS[name][field])
            for field, of in type_["properties"].items()
        }
        found[name] = {**type_, **_TYPES[name], "properties": fields}
    for name, field in (("EmailJson", "data"), ("TemplateJson", "variables")):
        found[name]["properties"][field] |= data
    found["Value"] = {
        "title": "Value",
        "description": "Any JSON without the character U+0000.",
        **_NO_NUL,
        **data,
        "items": value,
    }
    return found


def _flat(field: Schema) -> Schema:
    """A field that may be of several types, as one list of them; a reference stays a branch."""
    branches = field["anyOf"]
    if any("$ref" in branch for branch in branches):
        return {"anyOf": branches}
    keywords = {k: v for branch in branches for k, v in branch.items() if k != "type"}
    return {"type": [branch["type"] for branch in branches], **keywords}


def _merged(field: Schema, more: Schema) -> Schema:
    both = {k: field[k] | v for k, v in more.items() if isinstance(v, dict) and k in field}
    return {**field, **more, **both}


def schema() -> Schema:
    """The schema of the value of a record in `email.requested.*`, JSON Schema 2020-12."""
    found = components("#/$defs/{name}")
    email = found.pop("EmailJson")
    beyond = f"sealwax checks more than a schema can say: {' '.join(BEYOND.values())}"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **email,
        "title": "EmailRequested",
        "description": f"{email['description']} {beyond}",
        "examples": list(EXAMPLES),
        "$defs": found,
    }


def text() -> str:
    """The file."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201 - this is what the command is for
