"""Keeps the four processes of the platform running, and stops them."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType

import structlog

from sealwax import clock
from sealwax.cli.child import ARGUMENTS, LifeLock, spawn
from sealwax.cli.restart import History, restart
from sealwax.config import Settings
from sealwax.store.processes import NAMES, ProcessFiles

logger = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.05
_AFTER_A_FAILED_START_S = 1.0
_SAY_NOT_READY_AFTER_S = 30.0
# A process ends within `drain`; what is left then has hung. Kubernetes gets the same sum as
# terminationGracePeriodSeconds (R15).
_BEYOND_DRAIN = timedelta(seconds=15)


def patience(settings: Settings) -> timedelta:
    """How long a process that was asked to end may take."""
    return settings.drain + _BEYOND_DRAIN


@dataclass(slots=True)
class _Charge:
    """One process and what is known of it."""

    name: str
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_at: float = 0.0
    history: History = field(default_factory=History)


class Supervisor:
    """Runs the processes until it is asked to stop. Lives in the main thread.

    Every death is followed by a restart. SIGTERM, SIGINT and SIGHUP stop all of them gently; a
    second one at once.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        on_ready: Callable[[], None],
        programs: Mapping[str, Sequence[str]] = ARGUMENTS,
    ) -> None:
        self._data_dir = settings.data_dir
        self._patience_s = patience(settings).total_seconds()
        self._environment = environment
        self._files = ProcessFiles(settings.data_dir)
        self._on_ready = on_ready
        self._programs = programs
        self._announced = False
        self._asked = 0
        self._charges = [_Charge(name) for name in NAMES]

    def run(self) -> None:
        """Returns when all processes have ended after a request to stop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)
        try:
            began_at, said = clock.monotonic(), False
            while not self._asked:
                for charge in self._charges:
                    self._look_after(charge)
                self._announce()
                late = clock.monotonic() - began_at > _SAY_NOT_READY_AFTER_S
                if late and not self._announced and not said:
                    said = True
                    logger.warning("still starting", waiting_for=" ".join(self._not_ready()))
                time.sleep(_LOOK_EVERY_S)
        finally:
            self._stop()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def _look_after(self, charge: _Charge) -> None:
        now = clock.monotonic()
        if charge.process is not None and charge.process.poll() is not None:
            wait_s, charge.history = restart(
                charge.history, status=charge.process.returncode, lived_s=now - charge.started_at
            )
            self._bury(charge)
            charge.start_at = now + wait_s
            if wait_s:
                logger.warning("keeps ending", name=charge.name, starts_again_in_s=wait_s)
        if charge.process is None and now >= charge.start_at:
            self._start(charge)

    def _start(self, charge: _Charge) -> None:
        lock = LifeLock(self._data_dir, charge.name)
        try:
            charge.process = spawn(self._programs[charge.name], lock, self._environment)
        except OSError as error:
            charge.start_at = clock.monotonic() + _AFTER_A_FAILED_START_S
            logger.error("cannot start", name=charge.name, reason=str(error))  # noqa: TRY400 - no bug
            return
        self._files.write_pid(charge.name, charge.process.pid)
        charge.started_at = clock.monotonic()
        logger.info("started", name=charge.name, pid=charge.process.pid)

    def _bury(self, charge: _Charge) -> None:
        process, charge.process = charge.process, None
        if process is None:
            return
        if self._asked:
            # Else the files stay until the next start writes them anew: whoever reads a pid always
            # finds one.
            self._files.clear(charge.name, process.pid)
        said = logger.info if self._asked and process.returncode == 0 else logger.error
        said("ended", name=charge.name, pid=process.pid, how=_how(process.returncode))

    def _announce(self) -> None:
        if not self._announced and not self._not_ready():
            self._announced = True
            self._on_ready()

    def _not_ready(self) -> list[str]:
        return [name for name in NAMES if not self._files.ready(name)]

    def _stop(self) -> None:
        """SIGTERM to all, then SIGKILL to what has not ended in time or is not waited for."""
        living = [c for c in self._charges if c.process is not None]
        for charge in living:
            self._signal(charge, signal.SIGTERM)
        if self._asked == 1:
            logger.info("stopping; once more stops at once", at_most_s=int(self._patience_s))
        deadline = clock.monotonic() + self._patience_s
        killed = False
        while living:
            time.sleep(_LOOK_EVERY_S)
            if not killed and (self._asked > 1 or clock.monotonic() > deadline):
                killed = True
                for charge in living:
                    self._signal(charge, signal.SIGKILL)
            for charge in living:
                if charge.process is not None and charge.process.poll() is not None:
                    self._bury(charge)
            living = [c for c in living if c.process is not None]
        logger.info("stopped")

    def _signal(self, charge: _Charge, number: signal.Signals) -> None:
        if charge.process is not None:
            charge.process.send_signal(number)  # a no-op for one that has ended


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"
