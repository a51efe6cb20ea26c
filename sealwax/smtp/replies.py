"""From what came over the wire, or did not, to a Reply."""

import re

from aiosmtplib import SMTPReadTimeoutError, SMTPResponse, SMTPResponseException

from sealwax.model.reply import Command, Reply

# RFC 3463 section 2, at the start of any line of a reply (RFC 2034 section 4).
_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_CODE = re.compile(r"([2-5]\d\d|0)(?=[-\s]|$)")
# Controls of C0 and C1, and what `surrogateescape` made of bytes that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_TEXT = 1000  # characters; RFC 5321 4.5.3.1.5 gives a reply line 512 octets


def reply_of(command: Command, response: SMTPResponse) -> Reply:
    """What a peer answered; never raises, whatever it sent.

    The status is the first that any line begins with; each line loses its own.
    """
    message = response.message
    status, texts = "", []
    for line in message.split("\n") if "\n" in message else (message,):
        match = _STATUS.match(line)
        if match:
            status = status or match[1]
            texts.append(line[match.end() :])
        else:
            texts.append(line)
    return Reply(command, response.code, status, clean(" ".join(texts)))


def reply_from(command: Command, text: str) -> Reply:
    """A reply from its text, as a log or a bounce shows it.

    Lines may end as on the wire, or follow each other with blanks where a log has joined them.

    Raises:
        ValueError: The text does not begin with a code; where none came, the code is 0.
    """
    code, rest = _CODE.match(text.strip()), text.strip()
    if code is None:
        raise ValueError("a reply begins with a code of three digits")
    # A log that joins lines leaves each with its code, and a hyphen or a status behind it.
    joined = re.split(rf"\s+(?={code[1]}(?:-|\s+[245]\.\d))|[\r\n]+", rest)
    lines = [re.sub(rf"^{code[1]}(?:[-\s]|$)", "", line) for line in joined]
    return reply_of(command, SMTPResponse(int(code[1]), "\n".join(lines)))


def clean(text: str) -> str:
    """A peer's words as they may be stored and shown: at most 1,000 printable characters."""
    text = text[:_LONGEST_TEXT]
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub("\ufffd", text)


def broken(command: Command, cause: Exception, timeout_s: float) -> Reply:
    """What stands for the reply that a broken session did not bring.

    Class 4 always: a session that breaks refuses nothing.

    Args:
        command: The step that had no reply.
        cause: What aiosmtplib, a socket or the TLS library raised.
        timeout_s: The timeout of that step.

    Source:
        RFC 3463 section 3.5, network and routing status; X.4.1 no answer, X.4.2 bad connection.
    """
    connecting = command is Command.CONNECT
    match cause:
        case SMTPReadTimeoutError() | TimeoutError() if connecting:
            return Reply(command, 0, "4.4.1", f"no answer within {timeout_s:g} s")
        case SMTPReadTimeoutError() | TimeoutError():
            return Reply(command, 0, "4.4.2", f"no reply to {command} within {timeout_s:g} s")
        case SMTPResponseException():
            return Reply(command, 0, "4.5.0", clean(f"unreadable reply: {cause.message}"))
        case ConnectionRefusedError():
            return Reply(command, 0, "4.4.1", "connection refused")
        case OSError() if connecting:
            return Reply(command, 0, "4.4.1", clean(f"no connection: {cause.strerror or cause}"))
        case _:
            return Reply(command, 0, "4.4.2", f"connection lost before the reply to {command}")
