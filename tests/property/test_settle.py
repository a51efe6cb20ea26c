"""What the settler promises, whatever is handed out, skipped, settled and marked in which order."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.log.port import TopicPartition
from connectors.log.settle import (
    Settler,
    decode_mark,
    encode_mark,
    parse_source_header,
    source_header,
)
from sealwax.errors import UnreadableRecordError
from sealwax.model.delivery import Position

TP = TopicPartition("t", 0)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hand out"), st.integers(0, 3)),
        st.tuples(st.just("skip"), st.integers(0, 3)),
        st.tuples(st.just("settle"), st.integers(0, 30)),
        st.tuples(st.just("mark"), st.just(0)),
    ),
    max_size=80,
)


@given(steps=steps, start=st.integers(0, 5))
def test_the_watermark_and_its_mark_never_pass_an_unsettled_record(steps, start):
    settler = Settler(TP, start, (0,))
    unsettled: set[int] = set()
    handed_at: dict[int, int] = {}
    committed = start
    for clock, (what, number) in enumerate(steps, start=1):
        match what:
            case "hand out":
                offset = settler.position + number  # a gap of `number` offsets
                settler.hand_out(offset, 10)
                unsettled.add(offset)
                handed_at[offset] = clock
            case "skip":
                settler.skip(settler.position + number)
            case "settle":
                settler.settle([number])
                unsettled.discard(number)
            case _:
                settler.mark((clock,))
        assert settler.unsettled == len(unsettled)
        assert settler.unsettled_bytes == 10 * len(unsettled)
        assert settler.watermark == min(unsettled, default=settler.position)
        point = settler.commit_point()
        if point is not None:
            assert point.offset >= committed
            committed = point.offset
            (mark,) = decode_mark(point.metadata)
            # Outcomes of every record at or above the watermark stand behind the mark.
            assert all(mark < handed_at[offset] for offset in unsettled)


def test_a_commit_that_failed_is_made_again():
    settler = Settler(TP, 0, (0,))
    first = settler.commit_point()
    assert settler.commit_point() is None
    settler.forget_commit()
    assert settler.commit_point() == first


@given(ends=st.lists(st.integers(0, 2**60), max_size=60))
def test_a_mark_comes_back(ends):
    assert decode_mark(encode_mark(tuple(ends))) == tuple(ends)


@given(text=st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_mark_or_said_to_be_none(text):
    try:
        assert isinstance(decode_mark(text), tuple)
    except UnreadableRecordError as error:
        assert error.reason in ("bad_mark", "unknown_version")


@given(
    topic=st.sampled_from(["email.ready.marketing", "t"]),
    partition=st.integers(0, 500),
    offset=st.integers(0, 2**60),
    index=st.none() | st.integers(0, 50),
)
def test_a_source_header_comes_back(topic, partition, offset, index):
    position = Position(topic, partition, offset)
    assert parse_source_header(source_header(position, index)) == (position, index)


@given(raw=st.binary(max_size=60))
def test_any_bytes_are_a_source_header_or_none(raw):
    parsed = parse_source_header(raw)
    assert parsed is None or isinstance(parsed[0], Position)
