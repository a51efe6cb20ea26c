"""How long calls into ClickHouse may take, and what happens while it is away."""

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, Protocol, TypeVar

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from connectors.clickhouse.deadline import deadline
from sealwax.errors import SealwaxError

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0

T = TypeVar("T")
C = TypeVar("C", bound="ClickHouse")

logger = structlog.get_logger(__name__)


class StoppedWhileAwayError(SealwaxError):
    """The process was asked to stop while it could not store what it had.

    ClickHouse did not take it, or the process was not sure of its partitions.
    """


def _sure() -> bool:
    return True


class Patience(NamedTuple):
    """What a caller of ClickHouse waits for.

    Attributes:
        insert: The longest insert; then the process ends. None where the client has a timeout.
        whole: The longest repair at a start, likewise.
        stopped_within: Waits so many seconds, and says whether the process was asked to stop. None
            where nothing is tried again: a failure ends the process.
        sure: Waits until the process is sure of its partitions (R3), and says whether it is; it is
            not where it was asked to stop meanwhile.
    """

    insert: timedelta | None
    whole: timedelta | None
    stopped_within: Callable[[float], bool] | None = None
    sure: Callable[[], bool] = _sure

    def for_owner(self) -> None:
        """Returns as soon as what is about to be stored is this process's to store.

        A process that stood still may find another one at its work, which has stored what this one
        had in hand. Ask as late as can be: nothing on a server keeps a former owner out.

        Raises:
            StoppedWhileAwayError: It was asked to stop before it was sure.
        """
        if not self.sure():
            raise StoppedWhileAwayError("not sure of its partitions")


class Process(Protocol):
    """The process that stores; connectors.flow_process.FlowProcess."""

    def stopped_within(self, seconds: float) -> bool:
        """Waits so long, or until it is asked to stop; whether it was."""
        ...

    def sure(self) -> bool:
        """Waits until it is sure of its partitions, or is asked to stop; whether it is sure."""
        ...


class ClickHouse(Protocol):
    """ClickHouse in this process or on a server."""

    @property
    def in_process(self) -> bool:
        """Whether its calls run in this process."""
        ...

    def client(self) -> Client:
        """A client for one thread."""
        ...


def patience(
    clickhouse: ClickHouse,
    insert: timedelta,
    whole: timedelta,
    process: Process,
) -> Patience:
    """For ClickHouse in this process it ends in time; for a server it has no end."""
    if clickhouse.in_process:
        return Patience(insert, whole, sure=process.sure)
    return Patience(None, None, process.stopped_within, process.sure)


def patiently(do: Callable[[], T], patience: Patience) -> T:
    """What `do` returns; it is called again for as long as ClickHouse fails.

    Whatever the server says is taken for temporary: a user without a right gets it while the rows
    wait in the log, and each try says what is missing.

    Raises:
        StoppedWhileAwayError: The process was asked to stop.
        ClickHouseError: It failed, and nothing is tried again.
    """
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            return do()
        except ClickHouseError as error:
            if patience.stopped_within is None:
                raise
            logger.warning("ClickHouse is away, trying again", in_s=wait_s, error=str(error)[:300])
            if patience.stopped_within(wait_s):
                raise StoppedWhileAwayError(str(error)) from error
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def at_start(do: Callable[[], T], patience: Patience) -> T:
    """`patiently`, before the dataflow runs: a process that is asked to stop ends."""
    try:
        return patiently(do, patience)
    except StoppedWhileAwayError:
        sys.exit(0)


def opened(open_clickhouse: Callable[[], C], whole: timedelta) -> C:
    """ClickHouse for this process; one within it is opened in time, or the process ends."""
    with deadline(whole, "the opening of ClickHouse"):
        return open_clickhouse()


def first_client(clickhouse: ClickHouse, patience: Patience) -> Client:
    """A client as soon as there can be one; ends the process where there can be none."""
    try:
        with deadline(patience.whole, "the opening of ClickHouse"):
            return at_start(clickhouse.client, patience)
    except SealwaxError as error:
        sys.exit(f"sealwax analytics: {error}")
