"""What a topic of Kafka has to be: every difference is seen, and nothing else is one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.topic_layout import Difference, Found, Wanted, differences

wishes = st.builds(
    Wanted,
    partitions=st.integers(1, 500),
    compacted=st.booleans(),
    max_record_bytes=st.integers(1 << 16, 1 << 26),
    replication=st.none() | st.integers(1, 5),
)


def as_wanted(wanted: Wanted) -> Found:
    return Found(wanted.partitions, wanted.replication or 1, wanted.config())


@given(
    wanted=wishes, others=st.dictionaries(st.sampled_from(["segment.ms", "flush.ms"]), st.text())
)
def test_a_topic_as_wanted_has_no_difference_whatever_else_is_set(wanted, others):
    found = as_wanted(wanted)
    assert differences(wanted, replace(found, config={**others, **found.config})) == []


@given(wanted=wishes, data=st.data())
def test_each_property_that_counts_is_named_with_what_it_is_and_has_to_be(wanted, data):
    key = data.draw(st.sampled_from(sorted(wanted.config())))
    text = data.draw(st.text(max_size=12).filter(lambda text: not text.isdigit()))
    found = replace(as_wanted(wanted), config={**wanted.config(), key: text})
    if text == wanted.config()[key]:
        return
    assert differences(wanted, found) == [Difference(key, text, wanted.config()[key])]


@given(wanted=wishes, more=st.integers(0, 1 << 30), less=st.integers(1, 1 << 16))
def test_a_topic_may_take_larger_records_and_no_smaller_ones(wanted, more, less):
    least = int(wanted.config()["max.message.bytes"])

    def with_size(size: int) -> list[Difference]:
        config = {**wanted.config(), "max.message.bytes": str(size)}
        return differences(wanted, replace(as_wanted(wanted), config=config))

    assert with_size(least + more) == []
    assert [one.what for one in with_size(least - less)] == ["max.message.bytes"]


@given(wanted=wishes, partitions=st.integers(1, 500), copies=st.integers(1, 5))
def test_partitions_can_be_added_and_copies_only_by_hand(wanted, partitions, copies):
    found = differences(wanted, Found(partitions, copies, wanted.config()))
    by_what = {one.what: one for one in found}
    assert ("partitions" in by_what) == (partitions != wanted.partitions)
    if "partitions" in by_what:
        assert by_what["partitions"].mends == (partitions < wanted.partitions)
    assert ("replication" in by_what) == (copies < (wanted.replication or 0))
