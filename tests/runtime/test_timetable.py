"""The times of tasks: cron lines in a time zone, missed times, clocks that are set."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.runtime.timetable import MAX_AHEAD, Timetable

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = Timetable("30 2 * * *", BERLIN)


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_times_are_those_of_the_zone() -> None:
    """Half past two in Berlin is half past one in winter, in UTC, and half past midnight in summer."""
    assert NIGHTLY.next_after(at("2026-01-10T12:00")) == at("2026-01-11T01:30")
    assert NIGHTLY.next_after(at("2026-07-10T12:00")) == at("2026-07-11T00:30")


@pytest.mark.parametrize(
    ("after", "times"),
    [
        ("2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
    ],
)
def test_a_time_that_does_not_exist_or_exists_twice_comes_once(after: str, times: list[str]) -> None:
    """Where the clock is set forward, it comes right after; where it is set back, the first time."""
    found = []
    moment = at(after)
    for _ in times:
        following = NIGHTLY.next_after(moment)
        assert following is not None
        found.append(following)
        moment = following
    assert found == [at(text) for text in times]


def test_missed_times_are_caught_up_once() -> None:
    """After a week without a process, the newest time is due, and then no other."""
    due = NIGHTLY.due(at("2026-07-01T00:30"), at("2026-07-08T09:00"))
    assert due == at("2026-07-08T00:30")
    assert NIGHTLY.due(due, at("2026-07-08T09:00")) is None


def test_a_clock_that_is_set_back_repeats_nothing() -> None:
    """An hour back: the run of tonight is not due again."""
    assert NIGHTLY.due(at("2026-07-08T00:30"), at("2026-07-07T23:45")) is None
    assert NIGHTLY.due(at("2026-07-08T00:30"), at("2026-07-08T00:31")) is None


def test_a_clock_that_was_years_ahead_does_not_stop_the_task() -> None:
    """Once it is right again, the next time is due, not only the one after the wrong one."""
    wrong = at("2031-01-01T00:30")
    assert NIGHTLY.due(wrong, at("2026-07-08T00:31")) is None
    assert NIGHTLY.due(at("2026-07-08T00:31"), at("2026-07-09T00:30")) == at("2026-07-09T00:30")
    assert wrong - at("2026-07-08T00:31") > MAX_AHEAD


@pytest.mark.parametrize(
    ("cron", "problem"),
    [("every day", "is not a cron line"), ("0 0 31 2 *", "is not a cron line"), ("", "is not a cron line")],
)
def test_lines_that_cannot_work(cron: str, problem: str) -> None:
    """Each is named."""
    with pytest.raises(ValueError, match=problem):
        Timetable(cron, BERLIN)


moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda each: each.replace(tzinfo=UTC))  # noqa: DTZ001  # UTC is added


@given(last=moments, passed=st.timedeltas(timedelta(0), timedelta(days=40)))
def test_what_is_due_is_one_of_the_times(last: datetime, passed: timedelta) -> None:
    """It lies after the last run and not in the future, and no other time lies between it and now."""
    due = NIGHTLY.due(last, last + passed)
    following = NIGHTLY.next_after(last)
    assert following is not None
    if due is None:
        assert following > last + passed
    else:
        assert last < due <= last + passed
        later = NIGHTLY.next_after(due)
        assert later is not None
        assert later > last + passed
