"""Records of real Kafka producers, read back from a broker."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

import confluent_kafka
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from connectors.log.kafka.fetching import record_of
from connectors.log.port import Record
from sealwax.model import topics
from tests.support.kafka import Cluster, namespace

PARTITIONS = 4


class Requested:
    """The requested topics of an installation, on a broker that others use too.

    Attributes:
        namespace: The text before their names there.
    """

    def __init__(self, cluster: Cluster, topic_settings: Mapping[str, str] | None = None) -> None:
        """Topics without settings are made by the platform's start."""
        self.namespace = namespace()
        self._cluster = cluster
        if topic_settings is None:
            return
        settings = {"message.timestamp.type": "LogAppendTime", **topic_settings}
        new = [
            NewTopic(self.on_broker(name), PARTITIONS, config=settings) for name in topics.REQUESTED
        ]
        admin = cluster.admin()  # its requests end with it
        for made in admin.create_topics(new).values():
            made.result(30)

    def on_broker(self, topic: str) -> str:
        return f"{self.namespace}{topic}"

    @property
    def settings(self) -> dict[str, str]:
        """What a platform or a producer on this broker is told."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self._cluster.bootstrap,
            "SEALWAX_KAFKA_NAMESPACE": self.namespace,
            "SEALWAX_PARTITIONS": str(PARTITIONS),
        }

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, partition by partition, under its name without the namespace."""
        consumer = Consumer({
            "bootstrap.servers": self._cluster.bootstrap,
            "group.id": f"{self.namespace}reader",
            "enable.auto.commit": False,
            "receive.message.max.bytes": 256 << 20,
        })  # fmt: skip
        found = []
        for number in range(PARTITIONS):
            place = TopicPartition(self.on_broker(topic), number, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=30)
            consumer.assign([place])
            read = 0
            while read < end:
                message = consumer.poll(30)
                # A message without a value is false.
                assert message is not None, f"{topic}/{number}: nothing between {read} and {end}"
                assert not message.error(), message.error()
                found.append(record_of(message, topic))
                read = found[-1].offset + 1
        consumer.close()
        return found


def produce_with_header_names(
    cluster: Cluster, topic: str, named: Sequence[tuple[bytes, bytes]], value: bytes
) -> None:
    """Produces to partition 0 what the Python client cannot: headers whose names are any bytes."""
    (library,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
    rdkafka = ctypes.CDLL(str(library))
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(rdkafka, function).restype = ctypes.c_void_p
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_ssize_t
    conf = pointer(rdkafka.rd_kafka_conf_new())
    rdkafka.rd_kafka_conf_set(conf, b"bootstrap.servers", cluster.bootstrap.encode(), None, size(0))
    producer = pointer(rdkafka.rd_kafka_new(number(0), conf, None, size(0)))
    headers = pointer(rdkafka.rd_kafka_headers_new(size(len(named))))
    for name, content in named:
        rdkafka.rd_kafka_header_add(headers, name, size(len(name)), content, size(len(content)))
    # rd_kafka_vtype_t: 1 TOPIC, 3 PARTITION, 4 VALUE, 7 MSGFLAGS (2: copy), 10 HEADERS, 0 END.
    error = rdkafka.rd_kafka_producev(
        producer, number(1), topic.encode(), number(3), number(0), number(7), number(2),
        number(4), value, size(len(value)), number(10), headers, number(0),
    )  # fmt: skip
    assert error == 0
    assert rdkafka.rd_kafka_flush(producer, number(10_000)) == 0
    rdkafka.rd_kafka_destroy(producer)
