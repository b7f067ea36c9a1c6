"""`[kpis]`: other limits of key figures."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from pagefold.engine.configuration.durations import Duration, parse_duration
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import Table
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.kpis.definitions import BY_NAME, KPIS, Kpi, Unit

MAX_WINDOW = 24 * 3_600
MAX_NUMBER = 2**53

OF_COMPARISONS = frozenset(["drift", "outbound-drift"])
"""Key figures that the newest comparison gives, whenever that was."""


class KpiConfig(Table, frozen=True):
    """The limit of one key figure."""

    threshold: Annotated[
        int | float | str | None,
        Meta(
            description="The key figure is crossed above this: a number, for times a duration such as `5m`, for ratios "
            "a percentage such as `1 %`."
        ),
    ] = None
    window: Annotated[
        Duration | None,
        Meta(
            description="The time of which a ratio or a rate is, or for which another key figure must be above its "
            "threshold, up to 24 hours."
        ),
    ] = None
    minimum: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_NUMBER)] | None,
        Meta(
            description="For a ratio: of fewer events, sections for `drift`, or pages for what is delivered, it is "
            "shown, but is not crossed."
        ),
    ] = None


def configured_kpis(settings: Mapping[str, KpiConfig]) -> list[Kpi]:
    """Every key figure, with the limits of the configuration."""
    return [_configured(kpi, settings.get(kpi.name, KpiConfig())) for kpi in KPIS]


def check_kpis(settings: Mapping[str, KpiConfig]) -> Iterator[ConfigurationError]:
    """Yields the names and limits that are wrong."""
    for name, each in settings.items():
        if name not in BY_NAME:
            yield ConfigurationError(f"kpis.{name}", f"no such key figure; {suggestion(name, BY_NAME, 'key figures')}")
            continue
        for key, parse in (("threshold", _threshold), ("window", _window), ("minimum", _minimum)):
            try:
                parse(BY_NAME[name], each)
            except ValueError as error:
                yield ConfigurationError(f"kpis.{name}.{key}", str(error))


def _configured(kpi: Kpi, settings: KpiConfig) -> Kpi:
    try:
        return msgspec.structs.replace(
            kpi,
            threshold=_threshold(kpi, settings),
            window=_window(kpi, settings),
            minimum=_minimum(kpi, settings),
        )
    except ValueError:  # it was reported
        return kpi


def _threshold(kpi: Kpi, settings: KpiConfig) -> float:
    return kpi.threshold if settings.threshold is None else _limit(settings.threshold, kpi.unit)


def _window(kpi: Kpi, settings: KpiConfig) -> float:
    if settings.window is None:
        return kpi.window
    seconds = parse_duration(settings.window)
    if seconds > MAX_WINDOW or kpi.name in OF_COMPARISONS:
        problem = (
            "the newest comparison counts" if kpi.name in OF_COMPARISONS else f"{settings.window!r} is above 24 hours"
        )
        raise ValueError(problem)
    return seconds


def _minimum(kpi: Kpi, settings: KpiConfig) -> int:
    if settings.minimum is None:
        return kpi.minimum
    if kpi.unit != "ratio":
        problem = f"only a ratio has one, and {kpi.name} is none"
        raise ValueError(problem)
    return settings.minimum


def _limit(given: float | str, unit: Unit) -> float:
    """A threshold. Raises `ValueError` with what is allowed."""
    if unit == "seconds":
        return parse_duration(given)
    number = _percentage(given) if isinstance(given, str) and unit == "ratio" else given
    if isinstance(number, str) or not 0 <= number <= (1 if unit == "ratio" else MAX_NUMBER):
        allowed = "a number from 0 to 1, or a percentage such as '1 %'" if unit == "ratio" else "a number from 0 on"
        problem = f"{given!r} is not {allowed}"
        raise ValueError(problem)
    return float(number)


def _percentage(given: str) -> float | str:
    try:
        return float(given.removesuffix("%").strip()) / 100 if given.endswith("%") else given
    except ValueError:
        return given
