"""When a target is considered to be down, and how long it is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.delivery.circuit import AnswerWindow, backoff


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def window(clock: Clock) -> AnswerWindow:
    """No answers yet."""
    return AnswerWindow(clock)


def is_down(window: AnswerWindow) -> bool:
    """Whether the target is down. A function: a checker of types takes a property for constant."""
    return window.is_down


def test_five_failures_in_a_row(window: AnswerWindow, clock: Clock) -> None:
    """However slowly they come. One success begins anew."""
    for _ in range(4):
        window.failed()
        clock.at += 120
    assert not is_down(window)
    window.taken()
    for _ in range(4):
        window.failed()
        clock.at += 120
    assert not is_down(window)
    window.failed()
    assert is_down(window)
    window.forget()
    assert not is_down(window)


def test_eight_of_ten(window: AnswerWindow, clock: Clock) -> None:
    """Failures with a few successes between them, within half a minute."""
    for good in [False, False, False, True, False, False, False, True, False, False]:
        assert not is_down(window)
        window.taken() if good else window.failed()
    assert is_down(window)
    clock.at += 31
    assert not is_down(window)


def test_refused_pages_say_nothing(window: AnswerWindow) -> None:
    """A target that refuses a thousand pages works."""
    for number in range(1_000):
        window.refused(number, unknown_address=False)
    assert not is_down(window)


def test_a_wrong_address(window: AnswerWindow) -> None:
    """It knows none of fifty different pages. One page again and again proves nothing; a success begins anew."""
    for _ in range(200):
        window.refused("A", unknown_address=True)
    assert not is_down(window)
    for number in range(48):
        window.refused(number, unknown_address=True)
    window.taken()
    for number in range(49):
        window.refused(number, unknown_address=True)
    assert not is_down(window)
    window.refused("last", unknown_address=True)
    assert is_down(window)
    assert window.knows_no_page


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_a_minute(failures: int, dice: float) -> None:
    """1, 2, 4 … 60 s, each within a fifth of it."""
    expected = min(2.0 ** min(failures - 1, 16), 60.0)
    assert 0.8 * expected <= backoff(failures, lambda: dice) <= min(1.2 * expected, 60.0)
