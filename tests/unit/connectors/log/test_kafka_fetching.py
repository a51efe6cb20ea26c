"""Readers that share a consumer on a real broker."""

from contextlib import closing

from connectors.log import KafkaSettings, open_log
from sealwax.model.topics import TopicSpec
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
