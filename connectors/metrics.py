"""Figures of a flow's process for Prometheus. All are counted when somebody asks for them."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily as Total
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.registry import Collector
from typing_extensions import override

from connectors.log.settling import Settling
from sealwax import clock
from sealwax.errors import SealwaxError
from sealwax.model import topics
from sealwax.model.topics import Stream
from sealwax.policy.sendable import Backlog, sendable

# By stream: how many wait for a limit of their site, and how many for their time.
Waits = Callable[[], tuple[Mapping[str, int], Mapping[str, int]]]

TOTALS = {
    "sealwax_leases": "Leases that were granted to attempts that took long.",
    "sealwax_in_doubt": "Attempts that nobody knows the end of: the peer went away after the final "
    "dot, or their process died.",
}
_NONE: Mapping[str, Callable[[], int]] = MappingProxyType({})

logger = structlog.get_logger(__name__)


class FlowMetrics(Collector):
    """The figures of the partitions that a process owns. Thread-safe."""

    def __init__(
        self,
        settling: Settling,
        waits: Waits | None = None,
        totals: Mapping[str, Callable[[], int]] = _NONE,
    ) -> None:
        """Takes what knows the figures.

        Args:
            settling: The flow's.
            waits: Of dispatch.
            totals: Names of `TOTALS`, each with what has been counted since the process began.
        """
        self._settling = settling
        self._waits = waits
        self._totals = totals

    @override
    def collect(self) -> Iterable[Gauge | Total]:
        flow = self._settling.spec.name
        unsettled = Gauge(
            "sealwax_unsettled_records",
            "Records that were read and have no durable outcome yet.",
            labels=("flow", "topic"),
        )
        for topic, count in sorted(self._by_topic().items()):
            unsettled.add_metric((flow, topic), count)
        yield unsettled
        oldest = Gauge(
            "sealwax_oldest_unsettled_seconds",
            "How long ago the oldest record was appended that was read and is not settled; 0 where "
            "all are. Records of delay topics count from when they came there.",
            labels=("flow",),
        )
        oldest.add_metric((flow,), self._oldest_s())
        yield oldest
        stopped = Gauge(
            "sealwax_partition_stopped",
            "1 where a partition is not read any further, since mail was lost in it or could be "
            "sent twice: `sealwax doctor` says why.",
            labels=("topic", "partition"),
        )
        for tp in self._settling.sources:
            stopped.add_metric((tp.topic, str(tp.partition)), tp in self._settling.stopped)
        yield stopped
        for name, counted in self._totals.items():
            yield Total(name, TOTALS[name], counted())
        if self._waits is not None:
            yield from self._sendable(self._waits)

    def _sendable(self, waits: Waits) -> Iterable[Gauge]:
        """None where the log does not answer: what is not known is not 0."""
        try:
            unread = self._unread()
        except (SealwaxError, OSError) as error:
            logger.warning("sendable records cannot be counted", reason=str(error))
            return
        gauge = Gauge(
            "sealwax_sendable_records",
            "Records that more processes could send: ready, due, and not held by a limit.",
            labels=("stream",),
        )
        # What a lane takes meanwhile then counts as moving, and not as limited mail that is gone.
        limited, later = waits()
        read: Counter[Stream] = Counter()
        for topic, count in self._by_topic().items():
            read[topics.stream_of(topic)] += count
        for stream in topics.STREAMS:
            backlog = Backlog(
                unread[stream], read[stream], limited.get(stream, 0), later.get(stream, 0)
            )
            gauge.add_metric((stream,), sendable(backlog))
        yield gauge

    def _unread(self) -> Counter[Stream]:
        settling = self._settling
        ready = [tp for tp in settling.sources if tp.topic in topics.READY]
        going = [tp for tp in ready if tp not in settling.stopped]
        unread: Counter[Stream] = Counter()
        for tp, end in settling.log.end_offsets(going).items():
            unread[topics.stream_of(tp.topic)] += max(0, end - settling.settler(tp).position)
        return unread

    def _by_topic(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for tp in self._settling.sources:
            counts[tp.topic] += self._settling.settler(tp).unsettled
        return counts

    def _oldest_s(self) -> float:
        stamps = [self._settling.settler(tp).oldest_ms for tp in self._settling.sources]
        known = [stamp for stamp in stamps if stamp is not None]
        return max(0, clock.now_ms() - min(known)) / 1_000 if known else 0.0


def serve_metrics(metrics: FlowMetrics, flow: str, host: str, port: int) -> Callable[[], None]:
    """Answers `GET /metrics` with these figures and those of the process.

    Ends the process with one sentence where the address cannot be used.

    Returns:
        What stops it.
    """
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        sys.exit(f"sealwax {flow}: metrics cannot be served at {where}, SEALWAX_METRICS: {error}")

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
