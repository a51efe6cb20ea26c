"""Records as only foreign producers write them, read by our clients."""

from contextlib import closing

import pytest

from connectors.log import KafkaSettings, open_log
from connectors.log.kafka.setup import set_up
from connectors.log.port import Entry, TopicPartition
from sealwax.model import topics
from tests.support.kafka import namespace
from tests.support.log_reading import read_until
from tests.support.produced import produce_with_header_names

TOPIC = topics.REQUESTED[0]
TP = TopicPartition(TOPIC, 0)


@pytest.mark.parametrize("before", [0, 100], ids=["first of a life", "after others"])
def test_of_headers_only_a_name_that_is_no_utf8_is_lost(kafka, before):
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=1)
    named = [(b"\xff", b"1"), (b"api-key", b"2"), (b"\xfe\x00", b""), (b"x", b""), (b"x", b"3")]
    with closing(open_log(settings)) as log:
        set_up(settings, log)
        log.append_wait(TOPIC, [Entry(0, None, b"ours", (("a", b"1"),))] * before)
        for _ in range(2):
            produce_with_header_names(kafka, settings.namespace + TOPIC, named, b"v")
        found = (("�", b"1"), ("api-key", b"2"), ("�", b""), ("x", b""), ("x", b"3"))
        for records in (read_until(log.reader(TP, 0), before + 2), [*log.scan(TP, 0, before + 2)]):
            assert [r.headers for r in records[before:]] == [found, found]
            assert all(r.headers == (("a", b"1"),) for r in records[:before])
