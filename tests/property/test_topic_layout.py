"""What a topic of Kafka has to be: every difference is seen, and nothing else is one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.topic_layout import MOST_PARTITIONS, Difference, Found, Wanted, differences

wishes = st.builds(
    Wanted,
    partitions=st.integers(1, MOST_PARTITIONS),
    compacted=st.booleans(),
    max_record_bytes=st.integers(1 << 16, 1 << 26),
    replication=st.none() | st.integers(1, 5),
)


def as_wanted(wanted: Wanted) -> Found:
    copies = wanted.replication or 1
    return Found(wanted.partitions, copies, wanted.config(copies))


@given(
    wanted=wishes, others=st.dictionaries(st.sampled_from(["segment.ms", "flush.ms"]), st.text())
)
def test_a_topic_as_wanted_has_no_difference_whatever_else_is_set(wanted, others):
    found = as_wanted(wanted)
    assert differences(wanted, replace(found, config={**others, **found.config})) == []


@given(wanted=wishes, data=st.data())
def test_each_property_that_counts_is_named_with_what_it_is_and_has_to_be(wanted, data):
    config = as_wanted(wanted).config
    key = data.draw(st.sampled_from(sorted(config)))
    text = data.draw(st.text(max_size=12).filter(lambda text: not text.isdigit()))
    found = replace(as_wanted(wanted), config={**config, key: text})
    if text == config[key]:
        return
    assert differences(wanted, found) == [Difference(key, text, config[key])]


@given(wanted=wishes, more=st.integers(0, 1 << 30), data=st.data())
def test_a_topic_may_take_larger_records_and_be_safer_but_not_less(wanted, more, data):
    config = as_wanted(wanted).config
    bounds = ("max.message.bytes", "min.insync.replicas", "delete.retention.ms")
    key = data.draw(st.sampled_from([name for name in bounds if name in config]))
    least = int(config[key])
    less = data.draw(st.integers(0, least - 1))

    def with_number(number: int) -> list[Difference]:
        found = replace(as_wanted(wanted), config={**config, key: str(number)})
        return differences(wanted, found)

    assert with_number(least + more) == []
    assert [one.what for one in with_number(less)] == [key]


@given(wanted=wishes, copies=st.integers(1, 5))
def test_two_copies_acknowledge_an_append_where_there_are_three(wanted, copies):
    config = wanted.config(copies)
    assert config.get("min.insync.replicas") == ("2" if copies >= 3 else None)
    assert config["unclean.leader.election.enable"] == "false"
    assert ("delete.retention.ms" in config) == wanted.compacted


@given(wanted=wishes, partitions=st.integers(1, MOST_PARTITIONS), copies=st.integers(1, 5))
def test_partitions_can_be_added_and_copies_only_by_hand(wanted, partitions, copies):
    found = differences(wanted, Found(partitions, copies, wanted.config(copies)))
    by_what = {one.what: one for one in found}
    assert ("partitions" in by_what) == (partitions != wanted.partitions)
    if "partitions" in by_what:
        assert by_what["partitions"].mends == (partitions < wanted.partitions)
    assert ("replication" in by_what) == (copies < (wanted.replication or 0))
