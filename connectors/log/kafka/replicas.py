"""More copies of topics that are there. Kafka's own tool moves them; here it is told where to."""

import msgspec

from connectors.log.kafka.log import KafkaLog
from sealwax.errors import ConfigurationError
from sealwax.model.topics import ALL_OF_KAFKA
from sealwax.policy.replicas import reassigned

TOOL = "kafka-reassign-partitions.sh"


def reassignment(log: KafkaLog) -> bytes:
    """What the tool reads, as JSON; empty where no partition has too few copies.

    Raises:
        ConfigurationError: There are fewer brokers than copies.
    """
    copies = log.settings.replication or 0
    assigned = log.topics.replicas([spec.name for spec in ALL_OF_KAFKA])
    if all(len(brokers) >= copies for brokers in assigned.values()):
        return b""
    racks = log.topics.racks()
    if len(racks) < copies:
        raise ConfigurationError(
            f"SEALWAX_KAFKA_REPLICATION is {copies}, and the cluster has {len(racks)} brokers: "
            "set it to as many at most, or add brokers"
        )
    moved = [
        {"topic": log.settings.namespace + name, "partition": number, "replicas": brokers}
        for (name, number), brokers in reassigned(assigned, racks, copies).items()
    ]
    return msgspec.json.encode({"version": 1, "partitions": moved})
