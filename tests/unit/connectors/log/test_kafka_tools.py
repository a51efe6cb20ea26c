"""Kafka's own tools see what our flows have not settled."""

from contextlib import closing

from connectors.log import KafkaSettings, open_log
from connectors.log.kafka.setup import set_up
from connectors.log.port import Committed, Entry, TopicPartition
from sealwax.model import topics
from tests.support.kafka import namespace, tool

GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


def test_the_lag_of_a_flow_is_that_of_its_group(kafka):
    settings = KafkaSettings(kafka.bootstrap, namespace(), partitions=2)
    tps = [TopicPartition(topic, n) for topic in topics.READY for n in range(2)]
    with closing(open_log(settings)) as log:
        set_up(settings, log)
        for count, tp in enumerate(tps, start=3):
            log.append_wait(tp.topic, [Entry(tp.partition, b"k", b"v")] * count)
        log.commit("dispatch", {tp: Committed(n, "mark") for n, tp in enumerate(tps)})
        expected = {(settings.namespace + tp.topic, tp.partition): log.lag("dispatch", tp) for tp in tps}  # fmt: skip
    said = tool(
        GROUPS, "--bootstrap-server", kafka.bootstrap, "--describe", "--group", f"{settings.namespace}dispatch"
    )  # fmt: skip
    rows = [line.split() for line in said.splitlines() if topics.READY[0][:11] in line]
    assert {(topic, int(n)): int(lag) for _, topic, n, _, _, lag, *_ in rows} == expected
    assert set(expected.values()) == {3}
