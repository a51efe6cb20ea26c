"""Readers that share a consumer on a real broker."""

from contextlib import closing

import pytest
from confluent_kafka import Producer

from connectors.log import KafkaSettings, open_log
from connectors.log.port import TopicPartition
from sealwax.model.topics import REQUESTED, TopicSpec
from tests.support.kafka import namespace
from tests.support.log_reading import TOPIC, TP, fill, read_until


def test_a_partition_that_was_read_further_on_before_is_read_from_the_new_offset(kafka):
    with closing(open_log(KafkaSettings(kafka.bootstrap, namespace(), partitions=2))) as log:
        log.create_topics([TopicSpec(TOPIC)])
        offsets = fill(log, 4_000)
        for _ in range(10):
            further = log.reader(TP, offsets[1_000])
            read_until(further, 1, 30)
            further.close()  # while more of it is being fetched
            again = log.reader(TP, offsets[0])
            assert [record.offset for record in read_until(again, 3_000, 30)] == offsets[:3_000]
            again.close()


LARGE = b"0" * (40 << 20)  # some kilobytes by zstd


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("behind", [0, 3])
def test_a_batch_that_decompresses_to_too_much_stops_nobody_and_is_said(kafka, batches, behind):
    """The client's bound is lower here than ours, so that a test has the memory for it."""
    topic = REQUESTED[0]
    small = KafkaSettings(
        kafka.bootstrap, namespace(), {"receive.message.max.bytes": str(17 << 20)}, partitions=1
    )
    with closing(open_log(small)) as log:
        log.create_topics([TopicSpec(topic)])
        producer = Producer({
            "bootstrap.servers": kafka.bootstrap, "compression.type": "zstd", "linger.ms": 200,
            "message.max.bytes": 100 << 20, "batch.size": 100 << 20,
        })  # fmt: skip
        values: list[bytes] = []

        def produce(*batch: bytes) -> None:
            for value in batch:
                producer.produce(f"{small.namespace}{topic}", value, partition=0)
            assert producer.flush(30) == 0
            values.extend(batch)

        produce(b"first")
        for _ in range(batches):
            produce(b"good", *(b"%d" % n for n in range(20)), LARGE, b"good too")
        for n in range(behind):
            produce(b"behind %d" % n)
        found = read_until(log.reader(TopicPartition(topic, 0), 0), len(values), 60)
        scanned = list(log.scan(TopicPartition(topic, 0), 0, len(values)))
    assert [record.offset for record in found] == list(range(len(values)))
    assert [record.value for record in scanned] == [r.value for r in found if not r.unreadable]
    unread = {record.offset for record in found if record.unreadable}
    assert unread == set(range(1, 1 + 23 * batches))
    assert "ecompress" in found[1].unreadable
    assert [r.value for r in found if not r.unreadable] == [values[0], *values[1 + 23 * batches :]]
    stamps = [record.stamp_ms for record in found]
    assert stamps == sorted(stamps)
