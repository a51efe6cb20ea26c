"""The records of topics: what is written comes back, and nothing else is taken for one."""

from dataclasses import fields

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.log.port import Record
from connectors.records import (
    decode_deliveries,
    encode_deliveries,
    event_row,
    iso,
    partition_of,
    row_of,
    wait_columns,
)
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Delivery, Position
from sealwax.model.event import Cause, Kind, Wait
from tests.support.deliveries import delivery

texts = st.text(max_size=20)
times = st.integers(0, 2**53)
made = st.builds(
    delivery,
    email_id=texts,
    rcpt_index=st.integers(0, 49),
    tenant_id=texts,
    stream=st.sampled_from(["transactional", "marketing"]),
    reverse_path=texts,
    rcpt=texts,
    rcpt_domain=texts,
    accepted_at_ms=times,
    give_up_at_ms=times,
    attempt=st.integers(0, 255),
    due_ms=times,
    not_before_ms=times,
    source_ip=texts,
    dkim_domain=texts,
    template=texts,
    tags=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    request=st.builds(Position, texts, st.integers(0, 1_000), times),
    since_ms=times,
    waits=st.lists(
        st.builds(Wait, st.sampled_from(Cause), texts, st.integers(0, 10**9)), max_size=4
    ).map(tuple),
    message=st.binary(max_size=300),
)


def record(topic: str, value: bytes | None) -> Record:
    return Record(topic, 0, 0, None, value, (), 0)


@given(deliveries=st.lists(st.tuples(made, st.binary(max_size=40)), max_size=4))
def test_deliveries_and_their_rows_come_back(deliveries):
    values = encode_deliveries(deliveries)
    assert decode_deliveries(values) == [delivery for delivery, _ in deliveries]
    rows = [row_of(record("email.retry.transactional.1m", value)) for value in values]
    assert rows == [row for _, row in deliveries]


OTHERS = {
    "tags": (("a", "1"),),
    "waits": (Wait(Cause.DNS, "", 1),),
    "request": Position("email.requested.transactional", 0, 8),
    "message": b"other",
}


@pytest.mark.parametrize("name", [field.name for field in fields(Delivery)])
def test_every_field_of_a_delivery_is_part_of_its_record(name):
    now = getattr(delivery(), name)
    another = OTHERS.get(name, now + 1 if isinstance(now, int) else f"{now}x")
    other = delivery(**{name: another})
    assert encode_deliveries([(other, b"")]) != encode_deliveries([(delivery(), b"")])


@settings(max_examples=200)
@given(value=st.binary(max_size=80), cut=st.integers(0, 400), flip=st.integers(0, 2**16))
def test_garbage_is_said_to_be_unreadable_and_harms_no_other(value, cut, flip):
    (good,) = encode_deliveries([(delivery(), b"row")])
    damaged = bytearray(good)
    damaged[flip % len(damaged)] ^= 1 + flip % 255
    first, *rest, last = decode_deliveries([good, value, good[:cut], bytes(damaged), b"", good])
    assert first == last == delivery()
    for item in rest:
        assert isinstance(item, Delivery | UnreadableRecordError)
    assert isinstance(rest[-1], UnreadableRecordError)


@pytest.mark.parametrize("topic", ["email.events", "email.retry.marketing.10s"])
def test_a_tombstone_holds_no_row_and_is_no_delay_record(topic):
    if topic == "email.events":
        assert row_of(record(topic, None)) == b""
    else:
        with pytest.raises(UnreadableRecordError):
            row_of(record(topic, None))


def test_a_record_of_events_is_its_row():
    assert row_of(record("email.events", b'{"a":1}')) == b'{"a":1}'


def test_the_row_of_a_delivery_says_who_when_and_how_long_since_accept():
    row = orjson.loads(
        event_row(
            Kind.DELIVERED,
            delivery(tags=(("a", "1"),), waits=(Wait(Cause.RATE, "r", 3), Wait(Cause.DNS, "", 0))),
            at_ms=delivery().accepted_at_ms + 250,
            facts={"code": 250, "attempt": 4},
        )
    )
    assert row["elapsed_ms"] == 250
    assert row["tags"] == {"a": "1"}
    assert (row["code"], row["attempt"]) == (250, 4)
    assert (row["waits.cause"], row["waits.rule"], row["waits.ms"]) == (["rate"], ["r"], [3])
    assert row["request_offset"] == 7


def test_a_clock_that_was_set_back_makes_no_negative_time():
    row = orjson.loads(event_row(Kind.DELIVERED, delivery(), at_ms=0, facts={}))
    assert row["elapsed_ms"] == 0
    assert wait_columns([Wait(Cause.QUEUE, "", -5)])["waits.ms"] == []


def test_a_time_is_text_with_its_milliseconds():
    assert iso(1_795_507_200_007) == "2026-11-24T08:00:00.007Z"


def test_the_partition_of_a_key_is_its_crc_32_in_every_version():
    assert partition_of(b"123456789", 1 << 32) == 0xCBF43926  # the check value of CRC-32
    assert partition_of(b"123456789", 4) == 2
