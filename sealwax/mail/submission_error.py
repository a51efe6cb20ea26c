"""Why a submission is refused."""

from http import HTTPStatus

from typing_extensions import override

from sealwax.errors import SealwaxError


class SubmissionError(SealwaxError):
    """A submission that cannot be accepted as it is.

    Attributes:
        field: Where, as in the request: `to[2]`, `attachments[0].content`; empty for the whole.
        detail: A sentence that says what is wrong, without its final dot.
        fix: A sentence that says what to do, without its final dot.
        status: HTTP status: 400 not JSON, 413 too large, 422 everything else.
    """

    def __init__(
        self,
        field: str,
        detail: str,
        fix: str,
        status: int = HTTPStatus.UNPROCESSABLE_ENTITY,
    ) -> None:
        super().__init__(field, detail, fix, status)
        self.field = field
        self.detail = detail
        self.fix = fix
        self.status = int(status)

    @override
    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.detail}. {self.fix}."
