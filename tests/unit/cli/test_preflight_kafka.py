"""`sealwax up` and Kafka that is away, set wrongly, or not as it has to be."""

import pytest

from connectors.log import KafkaSettings, open_log
from connectors.log.kafka.setup import set_up
from sealwax.model import topics
from tests.support.kafka import free_ports, namespace
from tests.support.tcp_proxy import running_proxy
from tests.support.waiting import wait_until
from tests.unit.cli.test_preflight import nothing_started, refuses

PASSWORD = "correct-horse-battery"


def test_brokers_that_are_away_are_waited_for_and_that_is_said_once(machine, kafka):
    (port,) = free_ports(1)
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "SEALWAX_KAFKA_NAMESPACE": namespace(),
        "SEALWAX_PARTITIONS": "1",
    }
    up = machine.start(**settings)
    wait_until(lambda: "Waiting for it" in up.said, 20, "it to say that it waits")
    assert f"Kafka at 127.0.0.1:{port} cannot be reached" in up.said
    assert "refused" in up.said
    nothing_started(machine)
    with running_proxy(port, kafka.brokers[0].port):
        up.wait_ready()
        up.process.terminate()
        assert up.ends() == 0
    assert up.said.count("Waiting") == 1


def test_ctrl_c_ends_the_wait(machine):
    (port,) = free_ports(1)
    up = machine.start(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}")
    wait_until(lambda: "Waiting for it" in up.said, 20, "it to say that it waits")
    up.process.terminate()
    up.ends()
    nothing_started(machine)


def test_a_name_that_nobody_knows_is_one_sentence(machine):
    ran = machine.run("up", KAFKA_BOOTSTRAP_SERVERS="kafka.invalid:9092")
    refuses(ran, "kafka.invalid:9092", "resolve", "KAFKA_BOOTSTRAP_SERVERS")
    nothing_started(machine)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acks=1", "acks cannot be set"),
        ("sasl.passwort=x", '"sasl.passwort"'),
        (f"security.protocol={PASSWORD}", '"security.protocol"'),
        (PASSWORD, "line 2"),
    ],
)
def test_a_property_that_cannot_be_is_named_and_no_password_shown(machine, tmp_path, line, said):
    file = tmp_path / "client.properties"
    file.write_text(f"sasl.password={PASSWORD}\n{line}\n")
    kafka = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SEALWAX_KAFKA_CONFIG": str(file)}
    for command in ("up", "doctor"):
        ran = machine.run(command, **kafka)
        assert ran.returncode == 1
        assert said in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert PASSWORD not in ran.stdout + ran.stderr
    nothing_started(machine)


def test_a_topic_that_differs_is_said_before_anything_starts(machine, kafka):
    name = namespace()
    settings = KafkaSettings(kafka.bootstrap, name, partitions=1)
    log = open_log(settings)
    set_up(settings, log)
    log.topics.configure(topics.EVENTS, {"retention.ms": "1000"})  # type: ignore[attr-defined] # it is Kafka's
    log.close()
    ran = machine.run("up", KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap, SEALWAX_KAFKA_NAMESPACE=name)
    refuses(ran, f"{name}{topics.EVENTS}", "retention.ms", "topics apply")
    nothing_started(machine)
