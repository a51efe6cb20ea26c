"""Where further copies go: on other brokers and racks, the present ones stay where they are."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sealwax.policy.replicas import reassigned

clusters = st.dictionaries(st.integers(1, 12), st.sampled_from(["", "a", "b", "c"]), min_size=1)


@given(racks=clusters, data=st.data())
def test_partitions_with_too_few_copies_get_so_many_and_keep_those_they_have(racks, data):
    copies = data.draw(st.integers(1, len(racks)))
    present = st.lists(st.sampled_from(sorted(racks)), min_size=1, unique=True)
    assigned = data.draw(
        st.dictionaries(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 20)), present)
    )
    found = reassigned(assigned, racks, copies)
    assert set(found) == {place for place, brokers in assigned.items() if len(brokers) < copies}
    for place, brokers in found.items():
        assert len(brokers) == len(set(brokers)) == copies
        assert list(brokers[: len(assigned[place])]) == assigned[place]


@given(number=st.integers(1, 60), brokers=st.integers(2, 9))
def test_brokers_get_as_many_copies_as_the_others(number, brokers):
    assigned = {("t", n): [1 + n % brokers] for n in range(number)}
    found = reassigned(assigned, dict.fromkeys(range(1, brokers + 1), ""), 2)
    kept = Counter(broker for copies in found.values() for broker in copies)
    assert max(kept.values()) - min(kept[n] for n in range(1, brokers + 1)) <= 2


def test_a_copy_goes_to_another_rack_where_there_is_one():
    racks = {1: "a", 2: "a", 3: "b"}
    assert reassigned({("t", 0): [1], ("t", 1): [3]}, racks, 2) == {
        ("t", 0): (1, 3),
        ("t", 1): (3, 2),
    }
