"""What every flow's process is made of: its log, its ownership, its way to stop."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import structlog

from connectors.clock_watchdog import ClockWatchdog
from connectors.endings import Endings
from connectors.log import KafkaSettings, LogSettings, open_log
from connectors.log.fences import Owner
from connectors.log.meeting import meet
from connectors.log.ownership import FileOwnership
from connectors.log.peers import Peers, Place, place
from connectors.log.port import Log, Ownership, TopicPartition
from connectors.log.retention import Kept, Retention
from connectors.log.stamps import FreshStamps
from connectors.log.suspects import Suspects
from connectors.quiet import Quiet
from connectors.stops import Stops
from sealwax import clock
from sealwax.errors import SealwaxError
from sealwax.model import topics
from sealwax.policy.clock_watch import WENT_BACK_STATUS
from sealwax.store.clock_file import ClockFile
from sealwax.store.processes import ProcessFiles

# After a step back of the clock, how long outcomes may take to be durable; a log that is away for
# longer leaves them to the next start.
_LAST_APPENDS_S = 10.0
_LOOK_EVERY_S = 0.01
# A process that is asked for partitions gives them up within 20 s, or is put out of its group.
_HAND_OVER = timedelta(seconds=15)
# From when it was asked to stop a process of a cluster waits so long for the others to end too.
_END_TOGETHER_S = 18.0
_LOOK_AT_PEERS_S = 1.0
_COLLECT_AFTER = 10_000  # objects made and not freed: some hundred mails in work

logger = structlog.get_logger(__name__)


class FlowProcess:
    """One process of a flow.

    Made from `flow()`, before Bytewax starts: takes ownership, opens the log and creates missing
    topics, in this order, so that nothing is read that another process still works on. SIGTERM and
    SIGINT only set a flag: the log's sources end at once, the work in flight ends as its owner's
    `on_drain` hook says, and the dataflow ends when all of it has been quiet for a moment.

    Where the wall clock goes back, Bytewax calls the dataflow no more until it has caught up. Then
    the same is done without the dataflow, and the process ends with status 75, to be started anew.
    """

    def __init__(
        self,
        name: str,
        data_dir: Path,
        log: LogSettings | KafkaSettings,
        session: timedelta = timedelta(seconds=10),
        *,
        alone: bool = False,
    ) -> None:
        """Exits with status 1 and one sentence where the flow may not start here.

        Args:
            name: The flow.
            data_dir: The data directory, of which the flow has one process.
            log: The log. On Kafka other processes of the flow may share its partitions.
            session: How long they wait for one that is silent.
            alone: Whether one process has all partitions, and others only wait to take its place.
        """
        self.name = name
        self._here = _place(name, log, alone=alone)
        self.peers = Peers(
            self._here,
            valid_until=lambda: self._ownership.valid_until(),  # noqa: PLW0108 - it is taken later
            draining=self.draining,
            on_draining=self._start_anew,
        )
        self._anew = False
        self._told_to_stop = False
        self.suspects = Suspects(data_dir / "suspects", name)
        self._files = ProcessFiles(data_dir)
        self._asked = threading.Event()
        self._over = threading.Event()
        self._closing = threading.Lock()
        self._endings = Endings()
        self._on_close: list[Callable[[], None]] = []
        self._on_clock_back: list[
            tuple[Callable[[], None], Callable[[], bool], Callable[[], None]]
        ] = []
        self._clock_went_back = False
        self._in_flight: list[Callable[[], bool]] = []
        self._quiet = Quiet(
            lambda: (
                not self._asked.is_set()
                or bool(self._endings)
                or any(busy() for busy in self._in_flight)
            )
        )
        self._own: Callable[[Mapping[int, int]], None] = lambda _above: None
        self._ready = False
        self._begun = False
        self._stops = Stops(self._on_stop)
        try:
            self._open(data_dir, log, session, alone=alone)
        except (SealwaxError, OSError) as error:
            sys.exit(f"sealwax {name}: {error}")
        self._begin()

    def _open(
        self,
        data_dir: Path,
        log: LogSettings | KafkaSettings,
        session: timedelta,
        *,
        alone: bool,
    ) -> None:
        """Takes ownership, then the log."""
        self._files_owned = FileOwnership(data_dir / "locks", self.name)
        self._ownership: Ownership = self._files_owned
        self.numbers = tuple(self._ownership.acquire(range(log.partitions)))
        # Of a killed process of the same pid: 1 in containers.
        self._files.mark_stopped(self.name)
        self.log: Log = open_log(log)
        if isinstance(log, KafkaSettings):
            self._share(log, session, alone=alone)
        else:
            self.log.create_topics(topics.ALL)
            # They keep the number that they were made with, whatever the setting says now.
            there = range(self.log.partitions(topics.EVENTS))
            self.numbers = tuple(self._ownership.acquire(there))
        events = [TopicPartition(topics.EVENTS, number) for number in self.numbers]
        self._watchdog = ClockWatchdog(
            ClockFile(data_dir), FreshStamps(self.log, events), self._leave
        )

    def _begin(self) -> None:
        """From here on a stop is a drain."""
        self._begun = True
        self._drainer = threading.Thread(target=self._drain, name="drain", daemon=True)
        self._drainer.start()
        self._watchdog.start()
        atexit.register(self._close)

    def _share(self, settings: KafkaSettings, session: timedelta, *, alone: bool) -> None:
        """Takes the partition numbers that the flow's group gives this process; waits for some."""
        # Imported when asked for: the client library takes a tenth of a second.
        from connectors.log.kafka.member import MemberSettings  # noqa: PLC0415
        from connectors.log.kafka.membership import Membership  # noqa: PLC0415
        from connectors.log.kafka.setup import set_up  # noqa: PLC0415

        set_up(settings, self.log)
        meet(self._here, stage=1)
        membership = Membership(
            self.log,
            settings,
            MemberSettings(
                self.name,
                self._files.instance(self.name),
                session,
                alone,
                self._here.processes,
                rename=lambda: self._files.rename(self.name),
            ),
            on_changed=self._start_anew,
            on_lost=self._begin_again,
        )
        self._ownership = membership
        # As many as its topic has, whatever the setting says: it grows last of all.
        self.numbers = tuple(membership.acquire(range(self.log.partitions(topics.OWNERSHIP))))
        self._own = lambda above: self.peers.own(membership.writers(above))
        self._own({})
        logger.info("owns", partitions=self.numbers)

    def _start_anew(self) -> None:
        """Drains, and runs the program again: its partitions are others now."""
        self._anew = True
        self._asked.set()

    def _begin_again(self) -> None:
        """Runs the program again in place of this one; what it has in hand is others' now.

        Not where it was told to stop: the next one would not know.
        """
        sys.stderr.flush()
        self._stops.keep()
        if self._told_to_stop:
            self._files.mark_stopped(self.name)
            os._exit(0)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself

    @property
    def owner(self) -> Owner:
        """Who this process is to readers of what it appends, and until when."""
        return Owner(self.peers.writers, self._ownership.valid_until, self._own)

    def patience(self) -> timedelta | None:
        """How long a drain may take at most, where others wait for it."""
        return _HAND_OVER if self._anew or not self.peers.alone else None

    def draining(self) -> bool:
        """Whether the process was asked to stop."""
        return self._asked.is_set()

    def stopped_within(self, seconds: float) -> bool:
        """Waits so long, or until the process is asked to stop; whether it was."""
        return self._asked.wait(seconds)

    def sure(self) -> bool:
        """Waits until it is sure of its partitions, or is asked to stop; whether it is sure."""
        while clock.since_boot() >= self.valid_until():
            if self._asked.wait(_LOOK_EVERY_S):
                return False
        return True

    def quiet(self, seconds: float) -> bool:
        """Whether the process drains and nothing has been in flight for that long."""
        return self._quiet.lasts(seconds)

    def valid_until(self) -> float:
        """Until when the partitions that its records come from are owned, on the clock since_boot.

        In a cluster those are its own and those of all the others.
        """
        return min(self._ownership.valid_until(), self.peers.valid_until())

    def clock_trusted(self) -> bool:
        """Whether the wall clock is to be trusted. Thread-safe."""
        return not self._watchdog.suspect()

    def on_drain(self, hook: Callable[[], object]) -> None:
        """Registers what ends work in flight when the process is asked to stop; may block."""
        self._endings.add(hook)

    def in_flight(self, busy: Callable[[], bool]) -> None:
        """Registers a question: is there work of yours that must end before the dataflow does?"""
        self._in_flight.append(busy)

    def on_close(self, hook: Callable[[], None]) -> None:
        """Registers what is called, last first, when the dataflow has ended."""
        self._on_close.append(hook)

    def let_go_of(
        self,
        kept: Mapping[str, Kept],
        disk_is_low: Callable[[], bool],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Deletes from now on what nobody needs any more of the topics that this flow looks after.

        Args:
            kept: By topic, how long its records are kept.
            disk_is_low: Whether what may go has to go at once.
            before: Makes what is committed durable; called in each round.
        """
        retention = Retention(self.log, self.numbers, kept, disk_is_low, self.clock_trusted, before)
        self.on_close(retention.close)
        retention.start()

    def on_clock_back(
        self,
        let_go: Callable[[], None],
        appending: Callable[[], bool],
        commit: Callable[[], None],
    ) -> None:
        """Registers what is done when the dataflow is not called any more (R11).

        Args:
            let_go: Called first: what is in flight may not wait for the dataflow.
            appending: Whether outcomes are not durable yet.
            commit: Called last: settles and commits what is durable.
        """
        self._on_clock_back.append((let_go, appending, commit))

    def meet_peers(self) -> None:
        """Waits for the other processes of a cluster; the last that is done before Bytewax runs."""
        meet(self._here, stage=2)
        self.peers.met()

    def running(self) -> None:
        """Marks the process ready; called by the sources when they are asked for items."""
        if not self._ready:
            self._ready = True
            # What lives as long as the process is left out of collections, and they are seldom:
            # they took an eighth of what dispatch uses under load.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_COLLECT_AFTER)
            self._files.mark_ready(self.name)
            logger.info("ready")

    def _on_stop(self) -> None:
        if not self._begun:  # it waits for its partitions, perhaps for long
            self._files.mark_stopped(self.name)
            os._exit(0)
        self._told_to_stop = True
        self._asked.set()

    def _drain(self) -> None:
        while not self._asked.wait(_LOOK_AT_PEERS_S):
            if self.peers.silent:
                logger.warning("another process of its cluster is silent, it starts anew")
                self._start_anew()
        asked_at = clock.monotonic()
        logger.info("draining")
        self._endings.run()
        if not self.peers.alone:
            self._end_without_peers(asked_at + _END_TOGETHER_S)

    def _end_without_peers(self, deadline: float) -> None:
        """Ends the life of the process where Bytewax does not: it waits for others of the cluster.

        They are not there yet, and then nothing is in hand here; or they stand still.
        """
        if not self._ready:
            self.suspects.close(asked=True)
            self._ownership.close()
        elif self._over.wait(max(0, deadline - clock.monotonic())):
            return
        else:
            logger.warning("ends without the others of its cluster")
            self._close()
        self._begin_again()

    def _leave(self) -> None:
        """Ends the process after a step back of the clock, in the watchdog's thread.

        Nothing is closed: the main thread may be in the midst of it. Nothing needs to be: what is
        not settled is read again.
        """
        self._clock_went_back = True
        for let_go, _, _ in self._on_clock_back:
            let_go()
        self._asked.set()
        self._drainer.join()
        deadline = clock.monotonic() + _LAST_APPENDS_S
        moment = threading.Event()
        while self._is_appending() and clock.monotonic() < deadline:
            moment.wait(_LOOK_EVERY_S)
        try:
            for _, _, commit in self._on_clock_back:
                commit()
        except Exception:
            logger.exception("the last offsets were not committed")
        self.suspects.close(asked=True)
        self._exit()

    def _is_appending(self) -> bool:
        return any(appending() for _, appending, _ in self._on_clock_back)

    def _exit(self) -> None:
        self._files.mark_stopped(self.name)
        logger.info("stopped")
        sys.stderr.flush()
        os._exit(WENT_BACK_STATUS)

    def _close(self) -> None:
        self._over.set()
        self._closing.acquire()  # for good: a second thread that comes here waits for the end
        for hook in reversed(self._on_close):
            hook()
        self.suspects.close(asked=self._asked.is_set())
        self.log.close()
        self._ownership.close()
        self._files_owned.close()
        if self._clock_went_back:
            self._exit()
        if self._anew and not self._told_to_stop:
            logger.info("starts anew")
            self._begin_again()
        self._files.mark_stopped(self.name)
        logger.info("stopped")


def _place(name: str, log: LogSettings | KafkaSettings, *, alone: bool) -> Place:
    """The process's place in a cluster; exits with one sentence where that cannot work."""
    here = place()
    if here.processes == 1:
        return here
    if alone:
        reason = "one process has all partitions, so it is started without -i and -a"
    elif isinstance(log, LogSettings):
        reason = (
            "a cluster (-i, -a) needs Kafka: the log of a data directory is for one process, "
            "which may have many workers (-w)"
        )
    elif here.index >= here.processes:
        reason = f"there is no process {here.index} (-i) in a cluster of {here.processes} (-a)"
    else:
        return here
    sys.exit(f"sealwax {name}: {reason}")
