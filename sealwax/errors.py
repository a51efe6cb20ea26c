"""The root of every exception that sealwax raises on purpose."""

from typing_extensions import override


class SealwaxError(Exception):
    """A promise that broke, or a request that cannot be met; its text says what to change."""


class ConfigurationError(SealwaxError):
    """A setting or the machine's state forbids to start; the text is shown to the operator."""


class OwnedElsewhereError(SealwaxError):
    """A partition, a data directory or a port belongs to another process.

    Attributes:
        what: The thing that was asked for.
        pid: The process that holds it, or None where the system does not say.
    """

    def __init__(self, what: str, pid: int | None = None) -> None:
        super().__init__(what, pid)
        self.what = what
        self.pid = pid

    @override
    def __str__(self) -> str:
        holder = f"process {self.pid}" if self.pid else "another process"
        return f"{self.what} is held by {holder}; stop it first, or use another data directory"


class StorageFullError(SealwaxError):
    """An append was refused because the disk is full or its reserve is reached."""


class LogAwayError(SealwaxError, OSError):
    """The log did not answer in time, or refused; the same may be asked again."""


class NotConfirmedError(SealwaxError):
    """The log took the entries and did not say whether they are durable: they may be, or become."""


class LogPositionError(SealwaxError):
    """A reader stands where its partition has no record, and had one: nothing may be skipped."""


class RecordTooLargeError(SealwaxError):
    """A record is larger than its topic takes; it never fits."""


class LogClosedError(SealwaxError):
    """The log was closed while an append was waiting."""


class UnreadableRecordError(SealwaxError):
    """A record's bytes are not what its topic promises.

    Attributes:
        reason: A short stable word for `email.dead` (`not_json`, `unknown_version`, ...).
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    @override
    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
