"""The processes of a Bytewax cluster (`-i`, `-a`), and what they tell each other.

Bytewax hands records over between them: a process may send, and store the outcome of, a record that
another one read and owns. So each tells the others, several times a second and by the dataflow
itself, which partition numbers it owns, and asks them for how long they still do.
"""

import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import NamedTuple
from uuid import uuid4

from connectors.log.fences import Writer
from connectors.log.port import TopicPartition
from sealwax import clock

_ASK_EVERY_S = 0.25
# A machine that is gone closes no connection, and Bytewax may wait for a process that has ended:
# one that is silent for so long is not waited for.
_SILENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A process of a cluster.

    Attributes:
        index: Which one it is, from 0.
        addresses: Of all of them, `host:port`.
    """

    index: int = 0
    addresses: tuple[str, ...] = ("",)

    @property
    def processes(self) -> int:
        """How many there are; 1 without a cluster."""
        return len(self.addresses)


def place() -> Place:
    """This process's place, by the options and variables that `bytewax.run` was started with."""
    main = sys.modules["__main__"]
    if getattr(main.__spec__, "name", "") != "bytewax.run":
        return Place()
    options = main._parse_args()  # noqa: SLF001 - it has no public way to ask
    if options.process_id is None:
        return Place()
    return Place(options.process_id, tuple(options.addresses.split(";")))


class Settled(NamedTuple):
    """To the owner of a source partition: the outcomes of these of its records are durable."""

    tp: TopicPartition
    offsets: tuple[int, ...]


class Ask(NamedTuple):
    """Who a process is, and the question for how long the other one owns what it does.

    Attributes:
        process: Its index.
        asked_at: When, on its clock since_boot, in seconds.
        holder: Names it in leases.
        writers: By the partition numbers that it owns, who it is to readers of outcomes.
        draining: It stops, so all have to: Bytewax ends no dataflow before it has ended for all.
    """

    process: int
    asked_at: float
    holder: str
    writers: Mapping[int, Writer]
    draining: bool


class Answer(NamedTuple):
    """For how many seconds, from its writing on, a process is sure to own what it does."""

    process: int
    asked_at: float
    left_s: float


Mail = Settled | Ask | Answer


class Peers:
    """The cluster as one of its processes knows it; without a cluster there is nobody else.

    `take_mail` and `receive` are for the dataflow, the rest for any thread.

    Attributes:
        holder: Names this process in leases, and no other one.
        holders: The names of the others.
        writers: By partition number the owner, as readers of outcomes know it: this process's, and
            those of the others as they come to be known.
    """

    def __init__(
        self,
        here: Place = Place(),
        *,
        valid_until: Callable[[], float] = lambda: inf,
        draining: Callable[[], bool] = lambda: False,
        on_draining: Callable[[], None] = lambda: None,
    ) -> None:
        """Knows nobody yet.

        Args:
            here: This process's place.
            valid_until: Until when it owns its own partitions, on sealwax.clock.since_boot.
            draining: Whether it was asked to stop.
            on_draining: Called where another one stops; may be called again.
        """
        self.home = str(here.index)
        self.holder = uuid4().hex
        self.holders: set[str] = set()
        self.writers: dict[int, Writer] = {}
        self._here = here
        self._valid_until = valid_until
        self._draining = draining
        self._on_draining = on_draining
        self._own: Mapping[int, Writer] = {}
        self._homes: dict[int, str] = {}
        self._answers: deque[tuple[str, Answer]] = deque()
        self._asked_at = -inf
        self._met_at = inf
        self._others = tuple(n for n in range(here.processes) if n != here.index)
        # Of each of the others: when it has answered last, and until when it is sure to own what it
        # does; both on the clock of this process.
        self._heard: dict[int, float] = {}
        self._valid = dict.fromkeys(self._others, -inf)

    @property
    def alone(self) -> bool:
        """Whether there is no cluster."""
        return not self._others

    @property
    def ready(self) -> bool:
        """Whether all others know what this process owns: before that it reads nothing."""
        return len(self._heard) == len(self._others)

    @property
    def silent(self) -> bool:
        """Whether one of them has not answered for long, or never since they met."""
        heard_last = [self._heard.get(other, self._met_at) for other in self._others]
        return min(heard_last, default=inf) < clock.monotonic() - _SILENT_S

    def met(self) -> None:
        """All of them were there just now, and Bytewax begins."""
        self._met_at = clock.monotonic()

    def own(self, writers: Mapping[int, Writer]) -> None:
        """Says what this process owns; call it before the dataflow runs."""
        self._own = writers
        self.writers.update(writers)

    def home_of(self, number: int) -> str:
        """The process that owns a partition number, as mail to it is addressed."""
        return self._homes.get(number, self.home)

    def valid_until(self) -> float:
        """Until when all others own what they do, on this process's clock since_boot."""
        return min(self._valid.values(), default=inf)

    def take_mail(self) -> list[tuple[str, Ask | Answer]]:
        """What the others are to be told now, by home."""
        if self.alone:
            return []
        mail: list[tuple[str, Ask | Answer]] = []
        with suppress(IndexError):  # another worker may be quicker
            while self._answers:
                mail.append(self._answers.popleft())
        now = clock.since_boot()
        if now - self._asked_at >= _ASK_EVERY_S:
            self._asked_at = now
            ask = Ask(self._here.index, now, self.holder, self._own, self._draining())
            mail += [(str(index), ask) for index in self._others]
        return mail

    def receive(self, mail: Ask | Answer) -> None:
        """Takes in what another one tells."""
        if isinstance(mail, Answer):
            # It was written after the question: counted from then, it is a little too early.
            self._valid[mail.process] = mail.asked_at + mail.left_s
            self._heard[mail.process] = clock.monotonic()
            return
        home = str(mail.process)
        self.writers.update(mail.writers)
        self._homes.update(dict.fromkeys(mail.writers, home))
        self.holders.add(mail.holder)
        left_s = self._valid_until() - clock.since_boot()
        self._answers.append((home, Answer(self._here.index, mail.asked_at, left_s)))
        if mail.draining:
            self._on_draining()
