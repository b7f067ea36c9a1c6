"""`[kpis]`: limits of key figures."""

import pytest

from pagefold import Config
from pagefold.engine.configuration.kpi_config import configured_kpis
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.kpis.definitions import BY_NAME
from tests.support.small_shop import document


def limits(**tables: dict[str, object]) -> dict[str, tuple[float, float, int]]:
    """Threshold, window and minimum of the key figures in a configuration."""
    config = Config.parse(document(kpis={name.replace("_", "-"): table for name, table in tables.items()}))
    return {each.name: (each.threshold, each.window, each.minimum) for each in configured_kpis(config.kpis)}


def test_limits_are_given_in_the_unit_of_the_key_figure() -> None:
    """Numbers, durations and percentages; what is not given stays."""
    found = limits(
        lag={"threshold": "10m", "window": "2m"},
        failures={"threshold": "2.5 %"},
        conflicts={"threshold": 0.1, "window": 60, "minimum": 7},
    )
    assert found["lag"] == (600.0, 120.0, 1)
    assert found["failures"] == (0.025, BY_NAME["failures"].window, BY_NAME["failures"].minimum)
    assert found["conflicts"] == (0.1, 60.0, 7)
    assert found["queue"] == (BY_NAME["queue"].threshold, BY_NAME["queue"].window, 1)


@pytest.mark.parametrize(
    ("name", "table", "problem"),
    [
        ("lagg", {"threshold": 1}, "did you mean 'lag'?"),
        ("lag", {"threshold": "soon"}, "duration such as"),
        ("lag", {"window": "25h"}, "above 24 hours"),
        ("drift", {"window": "1h"}, "the newest comparison counts"),
        ("failures", {"threshold": "1"}, "a percentage such as"),
        ("failures", {"threshold": 1.5}, "from 0 to 1"),
        ("failures", {"threshold": "nan %"}, "from 0 to 1"),
        ("failures", {"threshold": "x %"}, "a percentage such as"),
        ("queue", {"threshold": -1}, "a number from 0 on"),
        ("queue", {"threshold": "many"}, "a number from 0 on"),
        ("queue", {"threshold": float("nan")}, "a number from 0 on"),
        ("queue", {"limit": 1}, "limit"),
        ("queue", {"minimum": 5}, "only a ratio has one"),
        ("drift", {"minimum": 0}, "minimum"),
    ],
)
def test_what_is_wrong_is_an_error(name: str, table: dict[str, object], problem: str) -> None:
    """It names the key and says what is allowed."""
    with pytest.raises(ConfigurationError, match=problem) as error:
        Config.parse(document(kpis={name: table}))
    assert error.value.key.startswith(f"kpis.{name}")
