"""Marks outlive that topics grow."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.log.growing import stretched
from connectors.log.port import TopicPartition


def outputs(alone: list[str], whole: list[str], partitions: int) -> list[TopicPartition]:
    """As a flow names them: of some topics its own partition, of the others all."""
    return [
        *(TopicPartition(name, 0) for name in alone),
        *(TopicPartition(name, n) for name in whole for n in range(partitions)),
    ]


@given(
    alone=st.integers(0, 3),
    whole=st.integers(1, 3),
    fewer=st.integers(1, 20),
    more=st.integers(1, 20),
    data=st.data(),
)
def test_each_end_stays_with_its_partition_and_new_ones_begin_at_0(alone, whole, fewer, more, data):
    names = [f"a{n}" for n in range(alone)], [f"w{n}" for n in range(whole)]
    before, after = outputs(*names, fewer), outputs(*names, fewer + more)
    ends = tuple(data.draw(st.lists(st.integers(1, 9), min_size=len(before), max_size=len(before))))
    found = stretched(after, ends)
    assert found is not None
    of_before = dict(zip(before, ends, strict=True))
    assert dict(zip(after, found, strict=True)) == {tp: of_before.get(tp, 0) for tp in after}


@given(partitions=st.integers(2, 9), count=st.integers(0, 40))
def test_a_mark_that_fits_no_number_of_partitions_is_none(partitions, count):
    found = stretched(outputs(["a"], ["w", "x"], partitions), (1,) * count)
    fits = count % 2 == 1 and 1 <= (count - 1) // 2 < partitions
    assert (found is not None) == fits


def test_a_flow_that_writes_to_its_own_number_alone_has_marks_of_one_size():
    assert stretched(outputs(["a", "b"], [], 4), (1,)) is None
