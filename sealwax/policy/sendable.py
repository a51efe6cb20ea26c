"""How much mail could be sent now, if only there were more processes: what autoscaling goes by."""

from typing import NamedTuple


class Backlog(NamedTuple):
    """The mail of a stream in one process; all are numbers of records.

    Attributes:
        unread: Ready to be sent, in partitions of the process, and not read yet.
        read: Read, and without an outcome.
        limited: Of these, those that wait for a limit of their site.
        later: Of these, those whose time has not come.
    """

    unread: int
    read: int
    limited: int
    later: int


def sendable(backlog: Backlog) -> int:
    """The records that nothing keeps but this process's pace and the replies of the peers.

    Of what was read these are the ones that wait neither for a limit nor for their time. What was
    not read yet has no lane, so nobody knows what it waits for: it counts in the proportion in
    which those read move, and in full where none was read. So a backlog whose lanes are all at
    their limits is no work for further processes.

    Returns:
        At least 0, at most all of `unread` and `read`.
    """
    moving = max(0, backlog.read - backlog.limited - backlog.later)
    asked = moving + backlog.limited
    return moving + (backlog.unread * moving // asked if asked else backlog.unread)
