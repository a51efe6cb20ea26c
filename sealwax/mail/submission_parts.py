"""The parts of a submission that are lists of small objects: headers, tags, attachments."""

import binascii
import mimetypes
import re
from base64 import b64decode

from sealwax.mail.submission_error import SubmissionError
from sealwax.mail.submission_json import AttachmentJson, TagJson
from sealwax.model.submission import Attachment

# The limits and forms are public for the JSON Schema that producers get: its patterns are these, so
# they are written in what ECMA-262 (with the flag u) reads like Python.
MAX_TAGS = 50  # every event of every recipient carries them
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")

HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")  # ftext, RFC 5322 3.6.8
# What sealwax writes itself, or what only a relay may write.
RESERVED_HEADERS = frozenset({
    "from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date", "message-id",
    "mime-version", "dkim-signature", "received", "return-path", "x-sealwax-id",
})  # fmt: skip
LINE_BREAK_OR_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# A line of a message has at most 998 octets and can only be broken at spaces (RFC 5322 2.1.1).
WORD_CHARACTERS = 900

FILENAME_CHARACTERS = 255
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# `token` of RFC 2045 5.1.
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
MEDIA_TYPE = re.compile(rf"""{_WORD}/{_WORD}(?: ?; ?{_WORD}=(?:{_WORD}|"[ !#-\[\]-~]*"))*""")
MEDIA_TYPE_CHARACTERS = 255
CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,128}")
# The built-in table, not the machine's: API and render must see the same type on any machine.
_MEDIA_TYPES = mimetypes.MimeTypes()


def check_line(field: str, text: str) -> str:
    """The text where it is one line. Raises SubmissionError; a tab may stay."""
    found = LINE_BREAK_OR_CONTROL.search(text)
    if found:
        what = "a line break" if found[0] in "\r\n" else f"the control character {found[0]!a}"
        raise SubmissionError(field, f"The text contains {what}", "Write it on one line")
    return text


def read_headers(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The customer's own header fields. Raises SubmissionError."""
    for name, value in headers.items():
        if HEADER_NAME.fullmatch(name) is None:
            raise SubmissionError(
                "headers",
                f"{name[:80]!a} cannot be the name of a header",
                "Use 1 to 76 printable ASCII characters without a colon or a space",
            )
        field = f"headers.{name}"
        lower = name.lower()
        if lower in RESERVED_HEADERS or lower.startswith("content-"):
            raise SubmissionError(field, "This header is written by sealwax", _instead(lower))
        check_line(field, value)
        if len(value) > WORD_CHARACTERS and any(
            len(word) > WORD_CHARACTERS for word in value.split()
        ):
            raise SubmissionError(
                field,
                f"The value has a word of over {WORD_CHARACTERS} characters, which does not fit "
                "on a line of a message",
                "Put spaces in between, or send a shorter value",
            )
    return tuple(headers.items())


def _instead(name: str) -> str:
    fields = {"from", "reply-to", "to", "cc", "bcc", "subject"}
    if name in fields:
        return f"Use the field `{name.replace('-', '_')}` of the request"
    return "Leave it out, or choose a name of your own such as X-Order-Id"


def read_tags(tags: list[TagJson]) -> tuple[tuple[str, str], ...]:
    """The tags in order. Raises SubmissionError."""
    if len(tags) > MAX_TAGS:
        raise SubmissionError(
            "tags", f"There are {len(tags)} tags; {MAX_TAGS} is the most", "Send fewer"
        )
    values: dict[str, str] = {}
    for i, tag in enumerate(tags):
        name = _tag_text(f"tags[{i}].name", tag.name)
        if name in values:
            raise SubmissionError(
                f"tags[{i}].name", f"The tag {name!r} is there twice", "Give each name once"
            )
        values[name] = _tag_text(f"tags[{i}].value", tag.value)
    return tuple(values.items())


def _tag_text(field: str, text: str | None) -> str:
    if text is None or TAG.fullmatch(text) is None:
        raise SubmissionError(
            field,
            "The text is missing" if text is None else f"{text[:40]!a} is not allowed in a tag",
            "Use 1 to 256 ASCII letters, digits, `_` or `-`",
        )
    return text


def read_attachments(attachments: list[AttachmentJson]) -> tuple[Attachment, ...]:
    """The attachments in order, decoded. Raises SubmissionError."""
    return tuple(_attachment(f"attachments[{i}]", a) for i, a in enumerate(attachments))


def _attachment(field: str, attachment: AttachmentJson) -> Attachment:
    if attachment.path is not None:
        raise SubmissionError(
            f"{field}.path",
            "Fetching an attachment from a URL is not yet available",
            "Attach the bytes as `content`, in base64",
        )
    filename = _filename(f"{field}.filename", attachment.filename)
    return Attachment(
        filename=filename,
        content=_content(f"{field}.content", attachment.content),
        content_type=_content_type(f"{field}.content_type", attachment.content_type, filename),
        content_id=_content_id(field, attachment),
    )


def _filename(field: str, filename: str | None) -> str:
    if not filename:
        raise SubmissionError(field, "The attachment has no file name", "Give it one")
    if len(filename) > FILENAME_CHARACTERS or CONTROL.search(filename):
        raise SubmissionError(
            field,
            f"The file name has over {FILENAME_CHARACTERS} characters or a control character",
            "Shorten it, and leave line breaks out",
        )
    return filename


def _content(field: str, content: str | list[int] | None) -> bytes:
    if content is None:
        raise SubmissionError(
            field, "The attachment has no content", "Send its bytes in base64, or as a list"
        )
    try:
        if isinstance(content, list):
            return bytes(content)
        # Many tools break base64 into lines (RFC 2045 6.8).
        joined = content.replace("\r", "").replace("\n", "") if "\n" in content else content
        return b64decode(joined, validate=True)
    except (binascii.Error, ValueError) as error:
        what = "a list of bytes" if isinstance(content, list) else "base64"
        raise SubmissionError(
            field,
            f"The content is not {what}",
            "Encode the bytes in standard base64 with padding, or send a list of 0 to 255",
        ) from error


def _content_type(field: str, given: str | None, filename: str) -> str:
    if given is None:
        guessed, encoding = _MEDIA_TYPES.guess_type(filename)
        # `x.csv.gz` is guessed as csv with an encoding that mail does not have.
        return guessed if guessed and not encoding else "application/octet-stream"
    if len(given) > MEDIA_TYPE_CHARACTERS or MEDIA_TYPE.fullmatch(given) is None:
        raise SubmissionError(
            field,
            f"{given[:80]!a} is not a media type",
            "Write it like application/pdf or text/calendar; method=REQUEST",
        )
    if given.lower().startswith("multipart/"):
        raise SubmissionError(field, "An attachment cannot be multipart", "Attach its parts")
    return given


def _content_id(field: str, attachment: AttachmentJson) -> str:
    name = "content_id" if attachment.content_id is not None else "inline_content_id"
    given = attachment.content_id or attachment.inline_content_id
    if not given:
        return ""
    bare = given[1:-1] if given.startswith("<") and given.endswith(">") else given
    if CONTENT_ID.fullmatch(bare) is None:
        raise SubmissionError(
            f"{field}.{name}",
            f"{given[:80]!a} cannot be a content id",
            "Use 1 to 128 ASCII letters, digits and the characters . _ - @",
        )
    return bare
