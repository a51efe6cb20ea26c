"""A broker that wants TLS, a user and a password: all clients of the adapter have them, or say so."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from connectors.log import KafkaSettings, open_log
from connectors.log.kafka.member import MemberSettings
from connectors.log.kafka.membership import Membership
from connectors.log.kafka.reaching import reach
from connectors.log.kafka.setup import set_up
from connectors.log.port import Committed, Entry, TopicPartition
from sealwax import config
from sealwax.errors import ConfigurationError
from sealwax.model import topics
from tests.support.kafka import Cluster, namespace, running_kafka

USER, PASSWORD = "sealwax", "correct-horse-battery"
LOGIN = "org.apache.kafka.common.security"
TP = TopicPartition(topics.EVENTS, 0)
OTHER_AUTHORITY = "other.pem"


@dataclass
class Guarded:
    cluster: Cluster
    client: Mapping[str, str]


@pytest.fixture(scope="module", params=["PLAIN", "SCRAM-SHA-512"])
def guarded(request, tmp_path_factory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    # Kafka takes keys in PKCS #8 alone.
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "broker.pem").write_bytes(pkcs8 + chain)
    mechanism = request.param
    own = f"listener.name.client.{mechanism.lower()}.sasl.jaas.config"
    properties = {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.client.sasl.enabled.mechanisms": mechanism,
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": str(folder / "broker.pem"),
        own: f'{LOGIN}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        if mechanism == "PLAIN"
        else f"{LOGIN}.scram.ScramLoginModule required;",
    }
    client = {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(folder / "ca.pem"),
        "sasl.mechanism": mechanism,
        "sasl.username": USER,
        "sasl.password": PASSWORD,
    }
    scram = f"{mechanism}=[name={USER},password={PASSWORD}]" if mechanism != "PLAIN" else ""
    with running_kafka(properties=properties, client=client, scram=scram) as cluster:
        yield Guarded(cluster, client)


def settings_of(guarded: Guarded, tmp_path: Path, **changes: str) -> KafkaSettings:
    """As a process reads them: from a file of properties."""
    file = tmp_path / "client.properties"
    file.write_text("".join(f"{k}={v}\n" for k, v in {**guarded.client, **changes}.items()))
    made = config.load(
        {
            "KAFKA_BOOTSTRAP_SERVERS": guarded.cluster.bootstrap,
            "SEALWAX_KAFKA_CONFIG": str(file),
            "SEALWAX_KAFKA_NAMESPACE": namespace(),
            "SEALWAX_PARTITIONS": "2",
            "SEALWAX_LOG_TIMEOUT": "15s",
        }
    ).log
    assert isinstance(made, KafkaSettings)
    return made


def test_with_them_it_appends_reads_scans_commits_and_joins(guarded, tmp_path):
    settings = settings_of(guarded, tmp_path)
    with closing(open_log(settings)) as log:
        set_up(settings, log)
        assert log.append_wait(TP.topic, [Entry(0, b"k", b"v")]) == [0]
        assert [record.value for record in log.scan(TP, 0, 1)] == [b"v"]
        with closing(log.reader(TP, 0)) as reader:
            read: list[bytes | None] = []
            while not read:
                read += [record.value for record in reader.read(10, 1_000)]
        assert read == [b"v"]
        log.commit("dispatch", {TP: Committed(1, "mark")})
        assert log.committed("dispatch", TP) == Committed(1, "mark")
        member = MemberSettings("dispatch", "one", timedelta(seconds=6))
        with closing(
            Membership(log, settings, member, on_changed=lambda: None, on_lost=lambda: None)
        ) as membership:
            assert membership.acquire(range(2)) == [0, 1]
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sasl.password": "a-wrong-one"}, "user and password"),
        ({"sasl.username": "nobody"}, "user and password"),
        ({"ssl.ca.location": OTHER_AUTHORITY}, "TLS"),
    ],
    ids=["password", "user", "authority"],
)
def test_what_is_wrong_with_them_is_said_and_no_password(guarded, tmp_path, changes, said):
    if OTHER_AUTHORITY in changes.values():
        trustme.CA().cert_pem.write_to_path(tmp_path / OTHER_AUTHORITY)
        changes = {"ssl.ca.location": str(tmp_path / OTHER_AUTHORITY)}
    missing = reach(settings_of(guarded, tmp_path, **changes), timedelta(seconds=20))
    assert missing
    assert said in missing.mend
    assert "SEALWAX_KAFKA_CONFIG" in missing.mend
    assert not {PASSWORD, "a-wrong-one"} & set(missing.reason.split())


def test_the_client_refuses_a_property_by_its_name_and_no_value_is_shown(guarded, tmp_path):
    for name, value in (("sasl.passwort", PASSWORD), ("security.protocol", PASSWORD)):
        settings = settings_of(guarded, tmp_path, **{name: value})
        for attempt in (open_log, lambda one: reach(one, timedelta())):
            with pytest.raises(ConfigurationError) as refused:
                attempt(settings)
            assert name in str(refused.value)
            assert PASSWORD not in str(refused.value)
