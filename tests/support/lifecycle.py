"""The process that sources run in, as tests need it: nothing asks it to stop before they do."""

from collections.abc import Callable

from typing_extensions import override

from connectors.log.peers import Peers
from connectors.log.port import TopicPartition
from connectors.log.settling import Settling


class Running:
    """Runs until `stop`; everything is quiet from then on."""

    def __init__(self) -> None:
        self.stopping = False
        self.peers = Peers()

    def stop(self) -> None:
        self.stopping = True

    def running(self) -> None:
        pass

    def draining(self) -> bool:
        return self.stopping

    def quiet(self, seconds: float) -> bool:
        return self.draining() and seconds >= 0


class UntilSettled(Running):
    """Runs until the records that were there at its start are settled and `idle` holds."""

    def __init__(
        self, settling: Settling, *topics: str, idle: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__()
        self._idle = idle
        self._settling = settling
        self._ends: dict[TopicPartition, int] = {
            tp: settling.log.end_offset(tp) for tp in settling.sources if tp.topic in topics
        }

    @override
    def draining(self) -> bool:
        if not self.stopping:
            settled = (self._settling.settler(tp).watermark for tp in self._ends)
            reached = zip(settled, self._ends.values(), strict=True)
            self.stopping = all(mark >= end for mark, end in reached) and self._idle()
        return self.stopping
