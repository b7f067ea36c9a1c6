"""What a target says about its limits, in every form in which services say it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.delivery.limit_headers import MAX_SECONDS, limits_of
from pagefold.engine.delivery.target_kind import Limits

NOW = datetime(2026, 3, 12, 14, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Thu, 12 Mar 2026 14:02:00 GMT", 120.0),
        ("Thu, 12 Mar 2026 13:00:00 GMT", 0.0),
        ("Thursday, 12-Mar-26 14:00:30 GMT", 30.0),
        ("Thu Mar 12 14:00:05 2026", 5.0),
        ("9999999999", MAX_SECONDS),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("nan", None),
        ("Thu, 99 Mar 2026 14:02:00 GMT", None),
    ],
)
def test_retry_after_in_both_forms(value: str, seconds: float | None) -> None:
    """A number of seconds or a date, the obsolete forms of dates included. What is neither says nothing."""
    assert limits_of(503, {"retry-after": value}, NOW).retry_after == seconds


@pytest.mark.parametrize(
    ("headers", "remaining", "reset"),
    [
        ({"ratelimit": '"default";r=50;t=30'}, 50, 30.0),
        ({"ratelimit": '"burst";r=5;t=1, "day";r=900;t=40000'}, 5, 1.0),
        ({"ratelimit": "limit=100, remaining=12, reset=9"}, 12, 9.0),
        ({"ratelimit-remaining": "3", "ratelimit-reset": "20"}, 3, 20.0),
        ({"ratelimit-remaining": "3, 3;w=1", "ratelimit-reset": "20"}, 3, 20.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"}, 0, 60.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 45)}, 0, 45.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp() * 1000) + 1500)}, 0, 1.5),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "Thu, 12 Mar 2026 14:00:10 GMT"}, 0, 10.0),
        ({"x-rate-limit-remaining": "1", "x-rate-limit-reset": "2"}, 1, 2.0),
        ({"x-ratelimit-remaining": "4"}, 4, 1.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "5", "ratelimit": '"day";r=0;t=90'}, 0, 90.0),
        ({"x-ratelimit-remaining": "many", "x-ratelimit-reset": "5"}, None, None),
        ({"x-ratelimit-reset": "5"}, None, None),
        ({}, None, None),
    ],
)
def test_windows(headers: dict[str, str], remaining: int | None, reset: float | None) -> None:
    """The drafts of the IETF and what services had before; the strictest window counts."""
    assert limits_of(200, headers, NOW) == Limits(remaining, reset)


def test_too_many_requests() -> None:
    """It is known from the status alone."""
    assert limits_of(429, {}, NOW).throttled
    assert not limits_of(503, {"retry-after": "1"}, NOW).throttled


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "ratelimit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-reset"]),
        st.text(max_size=40) | st.from_regex(r"[0-9rt=;,\" ]{0,30}", fullmatch=True),
    )
)
def test_whatever_is_sent(headers: dict[str, str]) -> None:
    """No header raises, and none stops a target for longer than a day, or for a negative time."""
    found = limits_of(429, headers, NOW)
    for seconds in (found.retry_after, found.reset):
        assert seconds is None or 0 <= seconds <= MAX_SECONDS
    assert found.remaining is None or found.remaining >= 0
