"""How people read key figures."""

import pytest

from pagefold.engine.kpis.definitions import BY_NAME, KPIS, Unit
from pagefold.engine.kpis.readings import crossed, shown, verdict
from pagefold.engine.monitoring.measurements import MEASUREMENTS
from tests.support.kpi_readings import reading


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "seconds", "-"),
        (0, "seconds", "0 s"),
        (0.25, "seconds", "0.2 s"),
        (372.9, "seconds", "6 min 12 s"),
        (300, "seconds", "5 min"),
        (7_260, "seconds", "2 h 1 min"),
        (3 * 86_400, "seconds", "3 d"),
        (0.0021, "ratio", "0.21 %"),
        (0.00001, "ratio", "< 0.01 %"),
        (0, "ratio", "0 %"),
        (1, "ratio", "100 %"),
        (4_812, "count", "4,812"),
        (61.5, "per minute", "61.5/min"),
        (60, "per minute", "60/min"),
    ],
)
def test_values_are_shown_with_their_unit(value: float | None, unit: Unit, text: str) -> None:
    """Of a time the two largest units; a small share is never shown as 0."""
    assert shown(value, unit) == text


def test_a_limit_of_a_ratio_has_its_minimum() -> None:
    """Unless one is enough; nothing else has one."""
    assert [reading(name, 1).limit for name in ("lag", "conflicts", "drift")] == [
        "5 min",
        "5 % of at least 20",
        "0.1 %",
    ]
    assert not reading("conflicts", None).is_of_too_few, "nothing is known"


def test_the_verdict_names_what_is_crossed() -> None:
    """Critical ones first, and not all of many; without any, what is not known."""
    assert verdict([reading("lag", 1, "media"), reading("drift", None)]) == (
        "No limit is crossed. 1 of 2 values are not known yet."
    )
    one = reading("unmapped", 2, "pim")
    assert verdict([one]) == "1 limit is crossed: Unmapped attributes of pim: 2, limit 0."
    lags = [reading("lag", 372, name) for name in ("catalog", "pricing", "media")]
    assert verdict([one, *lags]) == (
        "4 limits are crossed: Lag of catalog: 6 min 12 s, limit 5 min; Lag of pricing: 6 min 12 s, limit 5 min; "
        "Lag of media: 6 min 12 s, limit 5 min; and 1 more."
    )
    assert [each.kpi for each in crossed([one, *lags])] == ["lag", "lag", "lag", "unmapped"]


def test_each_key_figure_is_measured_and_has_a_limit() -> None:
    """Names are unique, and the measurements are those of the definitions."""
    assert [*MEASUREMENTS] == [each.name for each in KPIS]
    assert len(BY_NAME) == len(KPIS)
    assert all(each.threshold >= 0 and each.text and each.meaning for each in KPIS)
    assert reading("lag", 1).definition is BY_NAME["lag"]
