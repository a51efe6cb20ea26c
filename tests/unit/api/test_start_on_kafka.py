"""The API starts on Kafka by itself, and first: it looks at what flows look at."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typing_extensions import override

from connectors.log import KafkaSettings, moved
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.setup import set_up
from connectors.log.moved import Moved
from sealwax.model import topics
from tests.support.kafka import Cluster, free_ports, namespace
from tests.unit.api.conftest import Api

REQUESTED = topics.REQUESTED[0]


class OnKafka(Api):
    """An API that is not expected to start."""

    def __init__(self, folder: Path, bootstrap: str, **settings: str) -> None:
        self.name = namespace()
        ours = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "SEALWAX_KAFKA_NAMESPACE": self.name}
        super().__init__(folder, ours | settings)

    @override
    def start(self) -> None:
        """Not before the test has prepared everything."""

    def refusal(self) -> str:
        """Starts it, and what it says last."""
        super().start()
        return self.said.splitlines()[-1]

    @override
    def _is_up(self) -> bool:
        assert not self.files.ready("api"), "it started"
        return self.process.poll() == 1


@pytest.fixture
def on_kafka(tmp_path: Path, kafka: Cluster) -> Iterator[OnKafka]:
    with closing(OnKafka(tmp_path, kafka.bootstrap)) as made:
        yield made


def test_it_does_not_start_on_a_topic_that_deletes_mail_by_its_age(on_kafka, kafka):
    settings = KafkaSettings(kafka.bootstrap, on_kafka.name, partitions=1)
    with closing(KafkaLog(settings)) as log:
        set_up(settings, log)
        log.topics.configure(REQUESTED, {"retention.ms": "60000"})
    assert on_kafka.refusal() == (
        f"sealwax api: topic {on_kafka.name}{REQUESTED} has retention.ms '60000' and needs '-1': "
        "run `sealwax topics apply`"
    )


def test_it_does_not_start_on_half_of_a_log(on_kafka, kafka):
    directory = on_kafka.data_dir / "log"
    directory.mkdir()
    moved.write(directory, Moved(kafka.bootstrap, on_kafka.name, done=False))
    assert "run `sealwax log copy` again" in on_kafka.refusal()
    settings = KafkaSettings(kafka.bootstrap, on_kafka.name)
    with closing(KafkaLog(settings)) as log:
        assert log.topics.look_up([spec.name for spec in topics.ALL]) == {}


def test_without_kafka_it_ends_and_says_where_it_looked(tmp_path):
    (port,) = free_ports(1)
    with closing(OnKafka(tmp_path, f"127.0.0.1:{port}", SEALWAX_LOG_TIMEOUT="3s")) as api:
        said = api.refusal()
    assert said.startswith(f"sealwax api: Kafka at 127.0.0.1:{port} cannot be reached: ")
    assert "refused" in said
