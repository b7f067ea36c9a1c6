"""What the processes that deliver to a target share: stops, the circuit, the bucket, slots, the pace."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold import Config
from pagefold.engine.stores.delivery_records import SECOND, text_of
from pagefold.engine.stores.delivery_targets import MAX_AHEAD_SECONDS, DeliveryTarget, DeliveryTargets, Stop
from pagefold.engine.stores.store import Store
from pagefold.engine.stores.target_state import Result, TargetState, held_off, reserved, with_slots
from tests.support.delivery_clock import START, DeliveryClock

MICROSECOND = 1 / SECOND


@pytest.fixture
def clock(store: Store, config: Config) -> DeliveryClock:
    """The clock of the targets."""
    return DeliveryClock(store, config)


@pytest.fixture
def targets(store: Store, clock: DeliveryClock) -> DeliveryTargets:
    """The targets of a new store, whose clock stands still."""
    return store.delivery_targets


async def shown(targets: DeliveryTargets) -> DeliveryTarget:
    """The only target."""
    [found] = await targets.targets()
    return found


async def test_a_stop_lasts_until_it_is_ended(targets: DeliveryTargets) -> None:
    """It says who, why and since when."""
    await targets.stop("shop", "paused", "ada", "a\ud800 sale")
    assert (await shown(targets)).stop == Stop("paused", "ada", "a? sale", text_of(START))
    await targets.stop("shop", "disabled", "", "72 hours without a success")
    assert (await shown(targets)).stop == Stop("disabled", "", "72 hours without a success", text_of(START))
    assert await targets.resume("shop")
    assert (await shown(targets)).stop is None
    assert not await targets.resume("shop")


async def test_an_open_circuit_is_probed_by_one(targets: DeliveryTargets, clock: DeliveryClock) -> None:
    """At a time; a success closes it."""
    assert not await targets.take_probe("shop", 5)
    assert await targets.open_circuit("shop", "503", 30)
    assert not await targets.take_probe("shop", 5)
    clock.advance(30)
    assert await targets.take_probe("shop", 5)
    assert not await targets.take_probe("shop", 5)
    clock.advance(5)
    assert await targets.take_probe("shop", 5)
    assert not await targets.open_circuit("shop", "timeout", 60)
    found = await shown(targets)
    assert found.circuit == (text_of(START), "timeout", 60.0)
    assert found.failing_since == text_of(START)
    assert await targets.close_circuit("shop")
    assert not await targets.close_circuit("shop")
    found = await shown(targets)
    assert (found.circuit, found.failing_since, found.last_success_at) == (None, None, text_of(clock.now))


async def test_a_clock_that_was_set_back_blocks_no_probe(targets: DeliveryTargets, clock: DeliveryClock) -> None:
    """A probe further ahead than any is due."""
    clock.advance(1_000_000)
    await targets.open_circuit("shop", "503", 30)
    clock.advance(-1_000_000)
    assert await targets.take_probe("shop", 5)


async def test_successes_and_failures_are_noted(targets: DeliveryTargets, clock: DeliveryClock) -> None:
    """A failure since when none succeeded; a success, at most once a second."""
    await targets.note_failure("shop")
    clock.advance(10)
    await targets.note_failure("shop")
    assert (await shown(targets)).failing_since == text_of(START)
    await targets.note_success("shop")
    clock.advance(0.5)
    await targets.note_success("shop")
    found = await shown(targets)
    assert (found.failing_since, found.last_success_at) == (None, text_of(START + 10 * SECOND))
    clock.advance(1)
    await targets.note_success("shop")
    assert (await shown(targets)).last_success_at == text_of(clock.now)


async def test_requests_are_reserved_by_all_together(targets: DeliveryTargets, clock: DeliveryClock) -> None:
    """A burst, then as many as the rate allows; none while the target has said so."""
    assert (await targets.reserve("shop", 5, 10.0, 5.0)) == (True, 0.0)
    assert (await targets.reserve("shop", 2, 10.0, 5.0)) == (True, 0.2)
    refused = await targets.reserve("shop", 1, 10.0, 5.0)
    assert not refused.granted
    assert refused.wait == pytest.approx(0.05)
    clock.advance(0.05)
    assert (await targets.reserve("shop", 1, 10.0, 5.0)) == (True, 0.25)
    await targets.hold_off("shop", 30.0)
    await targets.hold_off("shop", 10.0)
    assert (await shown(targets)).held_off == 30.0
    assert not (await targets.reserve("shop", 1, 10.0, 5.0)).granted
    clock.advance(30)
    assert (await targets.reserve("shop", 1, 10.0, 5.0)) == (True, 0.0)
    with pytest.raises(ValueError, match="could never be granted"):
        await targets.reserve("shop", 6, 10.0, 5.0)


async def test_slots_are_shared(targets: DeliveryTargets, clock: DeliveryClock) -> None:
    """One holder may have all, until another asks; those of a frozen one expire."""
    assert await targets.take_slots("shop", "first", 9, 4, 10) == 4
    assert await targets.take_slots("shop", "second", 9, 4, 10) == 0
    assert await targets.take_slots("shop", "first", 9, 4, 10) == 2
    assert await targets.take_slots("shop", "second", 9, 4, 10) == 2
    assert await targets.take_slots("shop", "first", 9, 4, 10) == 2
    assert (await shown(targets)).slots == 4
    clock.advance(5)
    assert await targets.take_slots("shop", "second", 9, 4, 10) == 2
    clock.advance(5)
    assert await targets.take_slots("shop", "second", 9, 4, 10) == 4
    assert await targets.take_slots("shop", "second", 0, 4, 10) == 0
    assert await targets.take_slots("shop", "first", 1, 4, 10) == 1


async def test_the_pace_is_changed_once_by_all_together(targets: DeliveryTargets, clock: DeliveryClock) -> None:
    """Ten processes that get the same 429 halve it once."""
    assert await targets.slow_down("shop", 0.5, 0.1, 1.0) == 0.5
    assert await targets.slow_down("shop", 0.5, 0.1, 1.0) == 0.5
    clock.advance(1)
    assert await targets.slow_down("shop", 0.1, 0.1, 1.0) == 0.1
    clock.advance(1)
    assert await targets.speed_up("shop", 0.5, 1.0) == 0.6
    clock.advance(1)
    assert await targets.speed_up("shop", 0.5, 1.0) == 1.0
    assert (await shown(targets)).pace == 1.0


class Shared:
    """A target's state and its clock, without a store."""

    def __init__(self) -> None:
        self.state = TargetState()
        self.now = START

    def change(self, change: Callable[[TargetState, int], tuple[TargetState, Result]]) -> Result:
        """Applies a change."""
        self.state, result = change(self.state, self.now)
        return result


asked = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 400_000), st.sampled_from([0.0, 0.25, 3.0])), max_size=40)


@given(asked, st.floats(0.5, 200.0), st.sampled_from([5.0, 8.5, 40.0]), st.integers(0, 39))
def test_no_more_is_granted_than_rate_and_burst(
    requests: list[tuple[int, int, float]], rate: float, burst: float, held: int
) -> None:
    """Over any interval, by whoever asked, and however far ahead."""
    shared = Shared()
    sent: list[tuple[float, int]] = []
    for number, (wanted, passed, within) in enumerate(requests):
        shared.now += passed
        if number == held:
            shared.change(held_off(0.3))
        granted, wait = shared.change(reserved(wanted, rate, burst, within))
        if granted:
            assert wait <= within + MICROSECOND
            sent.append((shared.now / SECOND + wait - START / SECOND, wanted))
        else:
            assert wait > 0
    sent.sort()
    for begin in range(len(sent)):
        total = 0
        for at, wanted in sent[begin:]:
            total += wanted
            assert total <= rate * (at - sent[begin][0] + 2 * MICROSECOND * len(sent)) + burst


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 6_000_000)), max_size=40))
def test_slots_are_never_more_than_the_cap(asked: list[tuple[str, int, int]]) -> None:
    """Of all holders whose time has not passed."""
    shared = Shared()
    held: dict[str, tuple[int, int]] = {}
    for holder, wanted, passed in asked:
        shared.now += passed
        granted = shared.change(with_slots(holder, wanted, 6, 10.0))
        assert granted <= wanted
        held[holder] = (granted, shared.now + 10 * SECOND)
        assert sum(number for number, until in held.values() if until > shared.now) <= 6


def test_a_clock_that_was_set_back_leaves_an_empty_bucket() -> None:
    """It fills again from then on, in place of an hour later; nothing is granted twice."""
    shared = Shared()
    shared.change(reserved(5, 1.0, 5.0, MAX_AHEAD_SECONDS))
    shared.now -= 3_600 * SECOND
    assert not shared.change(reserved(5, 1.0, 5.0, 0.0)).granted
    shared.now += 5 * SECOND
    assert shared.change(reserved(5, 1.0, 5.0, 0.0)).granted
