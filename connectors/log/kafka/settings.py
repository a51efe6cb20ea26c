"""How a Kafka cluster is reached, and what our topics ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sealwax.errors import ConfigurationError

Config = dict[str, str | int | float | bool]

# What the adapter's promises depend on; nobody may set it otherwise.
_OURS = frozenset({
    "acks", "allow.auto.create.topics", "auto.offset.reset", "bootstrap.servers",
    "delivery.report.only.error", "delivery.timeout.ms", "enable.auto.commit",
    "enable.auto.offset.store", "enable.idempotence", "enable.partition.eof", "group.id",
    "group.instance.id", "group.protocol", "isolation.level", "message.send.max.retries",
    "message.timeout.ms", "metadata.broker.list", "partition.assignment.strategy",
    "request.required.acks", "retries", "session.timeout.ms", "transactional.id",
})  # fmt: skip
# Clients say what went wrong through our own log; their own lines name neither topic nor reason.
_QUIET = 2


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """A Kafka cluster as the log.

    Attributes:
        bootstrap: Brokers to begin with, `host:port,host:port`.
        namespace: Stands before the names of all topics and groups, where several installations
            share a cluster.
        client: Further properties of the client library: SASL, TLS, client.id.
        partitions: Of topics that are created from now on.
        replication: Of topics that are created or mended; None for the broker's default.
        compression: `lz4` or `zstd`.
        timeout: How long the cluster may take to answer; of an append of a process that `gives_up`
            it is not known after it whether it is stored.
        gives_up: Whether appends end with an error when the cluster is away (the API, which then
            answers its client), or wait for it (flows, which lose nothing by waiting).
        max_record_bytes: Size of the largest record.
        max_pending_bytes: Of appends that are not durable yet; above it appends are refused.
    """

    bootstrap: str
    namespace: str = ""
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    partitions: int = 12
    replication: int | None = None
    compression: str = "lz4"
    timeout: timedelta = timedelta(seconds=30)
    gives_up: bool = False
    max_record_bytes: int = 8 << 20
    max_pending_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        ours = sorted(_OURS & self.client.keys())
        if ours:
            raise ConfigurationError(
                f"the Kafka client's {', '.join(ours)} cannot be set: what sealwax promises depends"
                " on it; delete it from the file that SEALWAX_KAFKA_CONFIG names"
            )

    @property
    def timeout_s(self) -> float:
        """`timeout` in seconds."""
        return self.timeout.total_seconds()

    def common(self) -> Config:
        """What every client has."""
        return {
            "client.id": "sealwax",
            "log_level": _QUIET,
            "socket.keepalive.enable": True,
            "socket.timeout.ms": int(self.timeout_s * 1_000),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 2_000,
            # A partition whose leader moved is found again soon.
            "topic.metadata.refresh.interval.ms": 10_000,
            # What a batch may come to when it is decompressed; for zstd a third of it is sure.
            "receive.message.max.bytes": 256 << 20,
            **self.client,
            "bootstrap.servers": self.bootstrap,
        }

    def producer(self) -> Config:
        """The producer: every record once and in order, acknowledged by all in-sync replicas."""
        return {
            **self.common(),
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": int(self.timeout_s * 1_000) if self.gives_up else 0,
            "compression.type": self.compression,
            "linger.ms": 1,
            "message.max.bytes": self.max_record_bytes + OVERHEAD_BYTES,
            # Our own count of bytes refuses before these do.
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2 * self.max_pending_bytes // 1_024,
        }

    def consumer(self) -> Config:
        """A consumer that reads where it is told to, and never jumps."""
        return {
            **self.common(),
            "group.id": f"{self.namespace}sealwax-readers",  # asked for, and never committed to
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "fetch.queue.backoff.ms": 20,
            "fetch.message.max.bytes": 1 << 20,
            "fetch.max.bytes": 16 << 20,
            "queued.min.messages": 1_000,
            "queued.max.messages.kbytes": 16 << 10,
        }


# Of a record's key, headers and framing.
OVERHEAD_BYTES = 1 << 16
