"""The sizes of steps through the log: nothing is skipped, and little is read twice."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.stores.step_sizes import UNBOUNDED, StepReader, StepSize, StepTooLarge

MEGABYTE = 1_000_000
ROOM = 12 * MEGABYTE
MANY = 6_000


class Streams:
    """Streams of these sizes in bytes, named by number, and how many of their bytes were read."""

    def __init__(self, sizes: Sequence[int], inseparable: frozenset[int] = frozenset()) -> None:
        self.sizes = sizes
        self.inseparable = inseparable
        self.bytes_read = 0

    def read(self, step: StepReader[int]) -> bool:
        """As a store that reads everything, and then reports that it was too large."""
        begin = int(step.end or 0)
        some = range(begin, min(begin + step.streams, len(self.sizes)))
        size = sum(self.sizes[each] for each in some)
        self.bytes_read += size
        if size > step.max_bytes or (step.streams > 1 and self.inseparable.intersection(some)):
            return step.refuse(StepTooLarge())
        return step.read(list(some), f"{begin + step.streams}" if len(some) == step.streams else None, size)

    def walk(self, limit: int, max_bytes: int) -> list[list[int]]:
        """All steps from the first stream to the last."""
        stride, steps = StepSize(), []
        end: str | None = ""
        while end is not None:
            step: StepReader[int] = StepReader(stride, end, limit, max_bytes)
            while not self.read(step):
                pass
            steps.append(step.found)
            end = step.end
        return steps


sizes_of_streams = st.lists(st.sampled_from([0, 1, 300, 5_000, 70_000, MEGABYTE]), max_size=60)


@given(sizes_of_streams, st.integers(1, 70), st.sampled_from([1_000, 100_000, 2 * MEGABYTE]))
def test_every_stream_is_given_once(sizes: list[int], limit: int, max_bytes: int) -> None:
    """In order, whatever their sizes; no step exceeds its limit, except with a single stream."""
    steps = Streams(sizes).walk(limit, max_bytes)
    assert [each for step in steps for each in step] == list(range(len(sizes)))
    for step in steps:
        assert len(step) <= limit
        assert len(step) <= 1 or sum(sizes[each] for each in step) <= max_bytes


@given(sizes_of_streams, st.integers(1, 70), st.sampled_from([1_000, 100_000, 2 * MEGABYTE]))
def test_a_step_is_as_long_as_it_may_be(sizes: list[int], limit: int, max_bytes: int) -> None:
    """Fewer streams than the limit only if, with the next one, they exceed half of the byte limit."""
    first, *others = Streams(sizes).walk(limit, max_bytes)
    if others and others[0] and len(first) < limit:
        assert sum(sizes[each] for each in (*first, others[0][0])) > max_bytes // 2


@pytest.mark.parametrize("size", [100, 20_000, 100_000, MEGABYTE])
def test_little_is_read_in_vain(size: int) -> None:
    """Streams of one size are read about once: only the first step may fail."""
    streams = Streams([size] * 20_000)
    streams.walk(MANY, ROOM)
    assert streams.bytes_read < 1.05 * sum(streams.sizes)


def test_little_is_read_in_vain_where_large_ones_follow_small_ones() -> None:
    """Even if sizes keep changing, at most about twice the data is read in vain."""
    streams = Streams(([100] * 7_000 + [MEGABYTE] * 500) * 3)
    streams.walk(MANY, ROOM)
    assert streams.bytes_read < 3.3 * sum(streams.sizes)


def test_ambiguous_contents_are_read_alone() -> None:
    """A stream whose name is ambiguous is read without its neighbours."""
    steps = Streams([100] * 50, frozenset({7, 8, 40})).walk(20, ROOM)
    assert [each for step in steps for each in step] == list(range(50))


def test_one_that_is_larger_than_a_value_can_be_is_an_error() -> None:
    """It is not retried forever."""
    with pytest.raises(StepTooLarge):
        Streams([1, UNBOUNDED + 1]).walk(10, ROOM)
