"""The brokers of the tests are real ones."""

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from tests.support.kafka import namespace


def test_the_broker_of_the_tests_keeps_what_it_is_given(kafka):
    topic = f"{namespace()}topic"
    admin = kafka.admin()  # its requests end with it
    admin.create_topics([NewTopic(topic, 1)])[topic].result(10)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    producer.produce(topic, b"value")
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "g"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(10)
    consumer.close()
    assert message
    assert message.value() == b"value"
