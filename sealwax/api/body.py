"""Reading the body of a request, as much of it as is allowed."""

import asyncio
from datetime import timedelta

from litestar.types import Receive

from sealwax.api.problems import (
    BAD_REQUEST,
    BODY_TOO_SLOW,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemError,
)


def check_body(headers: dict[bytes, bytes], most: int) -> int | None:
    """What the headers say of a body that should be JSON: its size in bytes, or None.

    Raises:
        ProblemError: 413 for more than `most` bytes, 415 for another type or an encoding.
    """
    _check_type(headers)
    length = headers.get(b"content-length", b"")
    expected = int(length) if length.isdigit() else None
    if expected is not None and expected > most:
        raise _too_large(most)
    return expected


async def read_body(
    receive: Receive, expected: int | None, most: int, patience: timedelta
) -> bytes:
    """The body of a request.

    Args:
        receive: Gives its parts.
        expected: Its size, where it is known.
        most: How many bytes it may have.
        patience: How long it may take.

    Raises:
        ProblemError: 413 before more than `most` bytes were read, 408 for one that takes longer.
    """
    patience_s = patience.total_seconds()
    try:
        async with asyncio.timeout(patience_s):
            return await _read(receive, expected, most)
    except TimeoutError as error:
        raise ProblemError(
            BODY_TOO_SLOW, f"The body took over {patience_s:g} s. Send it faster, or in parts."
        ) from error


async def _read(receive: Receive, expected: int | None, most: int) -> bytes:
    body, more = await _next(receive)
    if len(body) > most:
        raise _too_large(most)
    # Granian says at the last part that there is more; the length saves asking for the empty rest.
    if not more or len(body) == expected:
        return body
    chunks = [body]
    size = len(body)
    while more and size != expected:
        chunk, more = await _next(receive)
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise ProblemError(BAD_REQUEST, "The connection ended before the body did. Send it again.")
    return message.get("body", b""), message.get("more_body", False)


def _check_type(headers: dict[bytes, bytes]) -> None:
    given = headers.get(b"content-type", b"application/json")
    media_type = given.partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not media_type.endswith(b"+json"):
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE,
            f"The content type is {media_type.decode('latin-1')[:80]}. Send JSON, with the header "
            "`Content-Type: application/json`.",
        )
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE,
            f"The body is encoded by {encoding.decode('latin-1')[:40]}. Send it as it is, without "
            "the header Content-Encoding.",
        )


def _too_large(most: int) -> ProblemError:
    return ProblemError(
        TOO_LARGE,
        f"The body has more than {most:,} bytes. Send less, or put large files on a web server and "
        "link to them.",
    )
