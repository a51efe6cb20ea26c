"""Kafka producers submit sends: the samples as a user runs them, and whatever else a client writes."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.log import LogSettings, open_log
from connectors.log.source import NOTHING_DONE, SourceItem
from flows.render import render_ports
from sealwax import config
from sealwax.model import topics
from sealwax.store.relational import RelationalSettings, open_store, sqlite_url
from tests.support.malformed import changed, corpus, drawn, swollen
from tests.support.platform import Platform, running_platform
from tests.support.produced import Requested, produce_with_header_names
from tests.support.sink import running_sink
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/producers"
SAMPLES = {
    "python": [sys.executable, str(EXAMPLES / "python/send.py")],
    "node": ["node", str(EXAMPLES / "node/send.mjs")],
}
TOPIC = topics.requested(topics.Stream.TRANSACTIONAL)
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Of our topics: 8 MiB and what stands around a value.
LARGEST = (8 << 20) + (1 << 16)
KEY = "sw_00000000_" + "0" * 32

pytestmark = pytest.mark.e2e


def run(
    sample: str, orders: list[dict[str, str]], settings: Mapping[str, str], key: str = KEY
) -> subprocess.CompletedProcess[str]:
    """Runs a sample as its page says."""
    assert (EXAMPLES / "node/node_modules").is_dir(), "kafkajs is missing: run make producers"
    return subprocess.run(
        SAMPLES[sample],
        input="".join(f"{json.dumps(order)}\n" for order in orders),
        env={"SEALWAX_API_KEY": key, "MAIL_FROM": "hello@acme.test", "PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        timeout=180,
    )  # fmt: skip


def orders(count: int) -> list[dict[str, str]]:
    return [{"order": f"{n}", "customer": f"user{n}@d{n % 3}.sink.test"} for n in range(count)]


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_a_sample_writes_stands_in_the_topic_as_render_takes_it(kafka, tmp_path, sample):
    requested = Requested(kafka, {})
    store = open_store(
        RelationalSettings(sqlite_url(tmp_path / "sealwax.db"), tmp_path / "master.key")
    )
    key = store.create_key("default", "shop").key
    done = run(sample, orders(30), requested.settings, key)
    assert done.returncode == 0, done.stderr
    records = requested.records(TOPIC)
    assert requested.records(topics.requested(topics.Stream.MARKETING)) == []
    assert sorted(record.key or b"" for record in records) == sorted(b"%d" % n for n in range(30))
    assert len({record.partition for record in records}) > 1
    log = open_log(LogSettings(tmp_path / "log"))
    log.create_topics(topics.ALL)
    intake = render_ports(config.load(), store, log).intake
    for record in records:
        order = (record.key or b"").decode()
        assert dict(record.headers) == {
            "api-key": key.encode(),
            "Idempotency-Key": f"receipt-{order}".encode(),
        }
        request = intake.read(SourceItem(record, NOTHING_DONE))
        assert (request.tenant_id, request.claim) == ("default", f"idem:default:receipt-{order}")
        assert [r.address for r in request.submission.recipients] == [
            f"user{order}@d{int(order) % 3}.sink.test"
        ]
        assert request.submission.data == {"order": order}
    log.close()
    store.close()


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_says_which_records_no_broker_took_and_fails(kafka, sample):
    requested = Requested(kafka, {"max.message.bytes": "600"})
    noise = random.Random(1).randbytes(5_000).hex()  # compression makes it not much smaller
    done = run(sample, [{"order": "1", "customer": noise}], requested.settings)
    assert done.returncode == 1
    assert "order 1 was not sent" in done.stderr
    assert requested.records(TOPIC) == []
    assert run(sample, orders(1), requested.settings).returncode == 0
    assert len(requested.records(TOPIC)) == 1


def test_orders_that_the_samples_send_again_are_delivered_once(kafka, tmp_path):
    requested = Requested(kafka)
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {"SEALWAX_SMTP_ROUTES": f"*.sink.test={sink.address}", **requested.settings},
        ) as platform,
    ):
        key = json.loads(platform.command("keys", "create", "shop", "--json"))["key"]
        for sample in SAMPLES:
            # The other sample writes its JSON otherwise, and another value is another payload.
            own = [order | {"order": f"{sample}-{order['order']}"} for order in orders(20)]
            for _ in range(2):
                assert run(sample, own, requested.settings, key).returncode == 0
        records = requested.records(TOPIC)
        assert len(records) == 80
        sink.wait_for(40)
        wait_until(lambda: platform.stats().get("deduplicated", 0) >= 40, 60, "the repeats to end")
        delivered = Counter(rcpt for entry in sink.index() for rcpt in entry["rcpts"])
        assert delivered == Counter({f"user{n}@d{n % 3}.sink.test": 2 for n in range(20)})
        assert dead_of(platform) == {}


def dead_of(platform: Platform) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Place -> what `sealwax dead list` says of it."""
    listed = json.loads(platform.command("dead", "list", "--limit", "20000", "--json"))["data"]
    return {(each["topic"], each["partition"], each["offset"]): each for each in listed}


def raw_of(platform: Platform, dead_id: str) -> bytes:
    command: list[str | Path] = [
        Path(sys.executable).with_name("sealwax"),
        "dead",
        "show",
        dead_id,
        "--raw",
    ]
    return subprocess.run(
        command, env=platform.environment, capture_output=True, check=True, timeout=60, cwd=ROOT
    ).stdout


class Client:
    """Real producers, one for each compression, that remember what the broker took."""

    def __init__(self, requested: Requested) -> None:
        self._topic = requested.on_broker(TOPIC)
        self._producers = {
            codec: Producer({
                "bootstrap.servers": requested.settings["KAFKA_BOOTSTRAP_SERVERS"],
                "enable.idempotence": True,
                "compression.type": codec,
                "message.max.bytes": 100_000_000,
                "queue.buffering.max.kbytes": 500_000,
            })
            for codec in CODECS
        }  # fmt: skip
        self.taken: dict[tuple[str, int, int], tuple[bytes | None, bytes | None, Any]] = {}
        self.refused: list[bytes | None] = []

    def produce(
        self, codec: str, key: bytes | None, value: bytes | None, headers: Any, number: int = -1
    ) -> None:
        def told(error: KafkaError | None, message: Any) -> None:
            if error:
                assert error.code() == KafkaError.MSG_SIZE_TOO_LARGE, error
                self.refused.append(value)
            else:
                self.taken[TOPIC, message.partition(), message.offset()] = (key, value, headers)

        try:
            self._producers[codec].produce(
                self._topic,
                partition=number,
                key=key,
                value=value,
                headers=headers,
                on_delivery=told,
            )
        except KafkaException as error:
            raise AssertionError(f"{codec} {len(value or b'')}: {error}") from error

    def flush(self) -> None:
        assert sum(producer.flush(60) for producer in self._producers.values()) == 0


def odd_headers(n: int, key: str) -> list[tuple[str, bytes | None]]:
    """Headers as clients of all kinds write them; three in four say who sends."""
    sender: list[tuple[str, bytes | None]] = [
        (("api-key", "Api-Key", "API-KEY")[n % 3], key.encode())
    ]
    return [
        *(sender if n % 4 else []),
        ("traceparent", b"\xff" if n % 2 else b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        *([("empty", None), ("empty", b""), ("größe", b"\x00\xff")] if n % 5 == 0 else []),
    ]  # fmt: skip


@pytest.mark.proof
@pytest.mark.timeout(1_800)
def test_bad_records_of_a_real_client_are_put_aside_and_the_good_ones_among_them_delivered(
    kafka, tmp_path, soak
):
    malformed, good = (10_000, 500) if soak else (300, 60)
    requested = Requested(kafka)
    fixed = corpus((80 if soak else 12) << 20)
    bad = [*fixed, *drawn(malformed - len(fixed))]
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {"SEALWAX_SMTP_ROUTES": f"sink.test={sink.address}", **requested.settings},
        ) as platform,
    ):
        key = json.loads(platform.command("keys", "create", "shop", "--json"))["key"]
        client = Client(requested)
        goods: set[bytes | None] = set()
        for n, value in enumerate(bad):
            if n % (malformed // good) == 0 and len(goods) < good:
                mail = changed(to=f"user{len(goods)}@sink.test")
                client.produce(CODECS[n % 5], b"\xff%d" % n, mail, [("api-key", key.encode())])
                goods.add(mail)
            client.produce(CODECS[n % 5], b"%d" % n if n % 3 else None, value, odd_headers(n, key))
        # The largest ones by each codec: what is small enough in a batch is taken, however large.
        for n, codec in enumerate(CODECS):
            client.produce(codec, None, fixed[-1], odd_headers(n, key))
        client.flush()
        with_odd_name = changed(to="nobody@sink.test")
        produce_with_header_names(
            kafka, requested.on_broker(TOPIC), [(b"\xff", b"")], with_odd_name
        )
        assert fixed[-1] in client.refused
        assert all(len(value or b"") > LARGEST // 2 for value in client.refused)
        records = requested.records(TOPIC)
        (odd,) = [record for record in records if record.value == with_odd_name]
        client.taken[odd.topic, odd.partition, odd.offset] = (None, with_odd_name, ())
        assert {(r.topic, r.partition, r.offset): (r.key, r.value) for r in records} == {
            place: (k, v) for place, (k, v, _) in client.taken.items()
        }, "what the broker took is in the topic, unchanged"

        malformed_at = {place for place, (_, v, _) in client.taken.items() if v not in goods}
        wait_until(lambda: len(dead_of(platform)) >= len(malformed_at), 900, "all bad ones aside")
        sink.wait_for(len(goods), 300)
        dead = dead_of(platform)
        reasons = Counter(each["reason"] for each in dead.values())
        received = Counter(rcpt for entry in sink.index() for rcpt in entry["rcpts"])
        print(
            f"\n{len(bad) + len(CODECS)} bad, {len(client.refused)} refused by the broker, "
            f"{len(dead)} in email.dead {dict(reasons)}; {len(goods)} good: {received.total()} received"
        )
        assert set(dead) == malformed_at
        assert all(each["reason"] and each["detail"] for each in dead.values())
        assert set(reasons) >= {"unauthenticated", "bad_request", "domain_not_usable"}
        assert received == Counter(f"user{n}@sink.test" for n in range(len(goods)))
        assert_kept_as_they_were(platform, dead, client, key)


def assert_kept_as_they_were(
    platform: Platform, dead: dict[tuple[str, int, int], dict[str, Any]], client: Client, key: str
) -> None:
    """A few of each kind, by the commands that an operator has."""
    values = [
        None,
        b"\xff\xfe\x00\x01",
        corpus(0)[26],
        max(v[1] or b"" for v in client.taken.values()),
    ]
    for value in values:
        place = next(p for p, taken in client.taken.items() if taken[1] == value)
        dead_id = dead[place]["id"]
        assert raw_of(platform, dead_id) == (value or b"")
        shown = json.loads(platform.command("dead", "show", dead_id, "--json"))
        assert key not in json.dumps(shown["headers"])
        named = dict(shown["headers"])
        # A null header is an empty one; the name of the key's header is gone with the key.
        assert {k for k, _ in client.taken[place][2] if k.lower() != "api-key"} <= set(named)
        if dead[place]["reason"] != "unauthenticated":
            step = platform.wait_for_step(named["email-id"], "rejected")
            assert step["detail"] == dead[place]["detail"]


@pytest.mark.parametrize("known", [False, True], ids=["of nobody", "of a tenant"])
def test_a_record_that_is_too_large_once_it_is_whole_holds_up_nobody(kafka, tmp_path, known):
    requested = Requested(kafka)
    bad = swollen(LARGEST)
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {"SEALWAX_SMTP_ROUTES": f"sink.test={sink.address}", **requested.settings},
        ) as platform,
    ):
        key = json.loads(platform.command("keys", "create", "shop", "--json"))["key"]
        client = Client(requested)
        sender = [("api-key", key.encode())]
        for n, (codec, name, value, headers) in enumerate(bad):
            # In the same partition, so that it comes first in its append, or stands in one's way.
            client.produce(codec, name, value, headers + sender if known else headers, n % 2)
            client.flush()
            mail = changed(to=f"user{n}@sink.test")
            client.produce("none", b"", mail, sender, n % 2)
            client.flush()
        assert client.refused == []
        sink.wait_for(len(bad), 300)
        received = Counter(rcpt for entry in sink.index() for rcpt in entry["rcpts"])
        assert received == Counter(f"user{n}@sink.test" for n in range(len(bad)))
        wait_until(lambda: len(dead_of(platform)) >= len(bad), 60, "all of them put aside")
        dead = dead_of(platform)
        for n, (_, name, value, headers) in enumerate(bad):
            place = next(p for p, taken in client.taken.items() if taken[:2] == (name, value) and taken[2][: len(headers)] == headers)  # fmt: skip
            one = dead[place]
            assert one["reason"] == ("bad_request" if known else "unauthenticated")
            assert raw_of(platform, one["id"]) == value
            whole = n == 4  # only its value is large
            shown = json.loads(platform.command("dead", "show", one["id"], "--json"))
            assert bool(shown["not_kept"]) is not whole
            if known:
                assert dict(shown["headers"])["tenant"] == "default"
        told = platform.command("dead", "replay", "--all")
        assert told.startswith("0 replayed, 0 were replayed before, 7 cannot be.")


def test_what_no_client_can_read_is_put_aside_and_holds_up_nobody(kafka, tmp_path):
    """A few kilobytes that a broker takes come to more than the bound of the client."""
    requested = Requested(kafka)
    bound = tmp_path / "kafka.properties"
    bound.write_text(f"receive.message.max.bytes={(50 << 20) + 512}\n")
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {
                "SEALWAX_SMTP_ROUTES": f"sink.test={sink.address}",
                "SEALWAX_KAFKA_CONFIG": str(bound),
                **requested.settings,
            },
        ) as platform,
    ):
        key = json.loads(platform.command("keys", "create", "shop", "--json"))["key"]
        client = Client(requested)
        for n in range(3):
            mail = changed(to=f"user{n}@sink.test")
            client.produce("none", b"", mail, [("api-key", key.encode())], 0)
            client.flush()
            client.produce("zstd", b"", b" " * (60 << 20), [("api-key", key.encode())], 0)
            client.flush()
        sink.wait_for(3, 120)
        wait_until(lambda: len(dead_of(platform)) == 3, 60, "what cannot be read put aside")
        for one in dead_of(platform).values():
            assert one["reason"] == "unreadable_batch"
            assert "ecompress" in one["detail"]
            assert raw_of(platform, one["id"]) == b""
        told = platform.command("dead", "replay", "--all")
        assert told.startswith("0 replayed, 0 were replayed before, 3 cannot be.")


def test_a_header_whose_name_is_no_utf8_costs_a_record_nothing_else(kafka, tmp_path):
    requested = Requested(kafka)
    with (
        running_sink(tmp_path / "sink") as sink,
        running_platform(
            tmp_path / "data",
            {"SEALWAX_SMTP_ROUTES": f"sink.test={sink.address}", **requested.settings},
        ) as platform,
    ):
        key = json.loads(platform.command("keys", "create", "shop", "--json"))["key"]
        headers = [(b"\xff", b"odd"), (b"api-key", key.encode()), (b"x", b"1")]
        for value in (changed(to="ada@sink.test"), b"{"):
            produce_with_header_names(kafka, requested.on_broker(TOPIC), headers, value)
        sink.wait_for(1)
        wait_until(lambda: dead_of(platform), 60, "the bad one put aside")
        ((_, one),) = dead_of(platform).items()
        assert one["reason"] == "bad_request"
        shown = json.loads(platform.command("dead", "show", one["id"], "--json"))
        assert shown["headers"][:2] == [["\ufffd", "odd"], ["x", "1"]]
        assert "is email.requested" in platform.command("dead", "replay", one["id"])
        wait_until(lambda: len(dead_of(platform)) == 2, 60, "it to fail again")
        again = max(dead_of(platform).values(), key=lambda each: each["offset"])
        assert (again["reason"], again["tenant"]) == ("bad_request", "default")
