"""How a cluster is reached: what may be set, and what may not."""

import pytest
from confluent_kafka import KafkaError

from connectors.log import KafkaSettings, open_log
from connectors.log.kafka.reaching import mend_of
from sealwax.config.properties import read_properties
from sealwax.errors import ConfigurationError


def test_what_our_promises_depend_on_cannot_be_set():
    with pytest.raises(ConfigurationError, match=r"acks, enable\.idempotence cannot be set"):
        KafkaSettings("localhost:1", client={"acks": "1", "enable.idempotence": "false"})


@pytest.mark.parametrize(
    "name",
    ["delivery.report.only.error", "message.send.max.retries", "message.timeout.ms", "retries"],
)
def test_an_append_is_tried_until_it_is_stored_and_then_acknowledged_whatever_is_set(name):
    with pytest.raises(ConfigurationError, match=f"{name} cannot be set"):
        KafkaSettings("localhost:1", client={name: "1"})


def test_a_property_that_the_client_does_not_know_is_named():
    with pytest.raises(ConfigurationError, match=r"sasl\.passwort"):
        open_log(KafkaSettings("localhost:1", client={"sasl.passwort": "geheim"}))


def test_properties_reach_every_client():
    settings = KafkaSettings("localhost:1", client={"ssl.ca.location": "/ca.pem"})
    for config in (settings.common(), settings.producer(), settings.consumer()):
        assert config["ssl.ca.location"] == "/ca.pem"
        assert config["bootstrap.servers"] == "localhost:1"


def test_a_password_is_not_shown():
    assert "geheim" not in repr(KafkaSettings("localhost:1", client={"sasl.password": "geheim"}))


def test_only_processes_that_answer_somebody_give_up():
    assert KafkaSettings("h:1").producer()["message.timeout.ms"] == 0
    assert KafkaSettings("h:1", gives_up=True).producer()["message.timeout.ms"] == 30_000


def test_a_file_of_properties_is_read_as_kafka_s_tools_read_it(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("# who we are\nsasl.username = sealwax\n\nsasl.password=a=b \n")
    assert read_properties(file) == {"sasl.username": "sealwax", "sasl.password": "a=b"}
    assert read_properties(None) == {}


def test_a_line_that_is_no_property_is_named_and_not_shown(tmp_path):
    file = tmp_path / "client.properties"
    file.write_text("ok=1\ngeheim\n")
    with pytest.raises(ConfigurationError, match="line 2 of") as raised:
        read_properties(file)
    assert "geheim" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_properties(tmp_path / "nobody")


def test_tls_that_fails_at_once_is_told_from_a_broker_that_is_away():
    said = "sasl_ssl://k:9093/bootstrap: error:0A000086:SSL routines::certificate verify failed"
    assert "TLS" in mend_of(KafkaError(KafkaError._TRANSPORT, said))
    assert "TLS" in mend_of(KafkaError(KafkaError._SSL, "SSL handshake failed"))
    assert not mend_of(KafkaError(KafkaError._TRANSPORT, "Connection refused"))
