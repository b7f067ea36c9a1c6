"""What was measured of a key figure, and how people read it."""

from collections.abc import Iterable, Sequence

import msgspec

from pagefold.engine.kpis.definitions import BY_NAME, Kpi, Severity, Unit

MINUTE, HOUR, DAY = 60, 3_600, 86_400
MAX_NAMED = 3


class KpiReading(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One value of a key figure: what it is, and how far it may go.

    `label` is a domain, a source or the like; empty if there is one value. `value` is None if nothing is known.
    `threshold`, `window_seconds` and `minimum` are those of the configuration. `since` is when it was first seen to be
    crossed, as fixed-width UTC text. A ratio has its `numerator` and `denominator`; while that is below the `minimum`,
    it is not crossed. `cause` is the address of the cause, below `/ui/` of the server; `command` shows it; `runbook` is
    an anchor of docs/runbooks.md.
    """

    kpi: str
    label: str = ""
    title: str
    unit: Unit
    value: float | None
    threshold: float
    window_seconds: float
    minimum: int = 1
    severity: Severity
    crossed: bool
    since: str | None = None
    numerator: float | None = None
    denominator: float | None = None
    cause: str
    command: str
    runbook: str

    @property
    def definition(self) -> Kpi:
        """What is measured, with the limit that holds without a configuration."""
        return BY_NAME[self.kpi]

    @property
    def key(self) -> tuple[str, str]:
        """Key figure and label."""
        return self.kpi, self.label

    @property
    def is_of_too_few(self) -> bool:
        """Whether it is a ratio of fewer than the minimum."""
        return self.denominator is not None and self.denominator < self.minimum

    @property
    def limit(self) -> str:
        """The limit for people, such as `5 min`, or `5 % of at least 20`."""
        return limit_of(self.threshold, self.unit, self.minimum)

    @property
    def text(self) -> str:
        """A sentence without its point, such as `Lag of pricing: 6 min 12 s, limit 5 min`."""
        of = f" of {self.label}" if self.label else ""
        return f"{self.title}{of}: {shown(self.value, self.unit)}, limit {shown(self.threshold, self.unit)}"


def shown(value: float | None, unit: Unit) -> str:
    """A value for people; `-` if nothing is known."""
    if value is None:
        return "-"
    if unit == "seconds":
        return _duration(value)
    if unit == "ratio":
        return _percent(value)
    number = f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{number}/min" if unit == "per minute" else number


def limit_of(threshold: float, unit: Unit, minimum: int) -> str:
    """A limit for people; that of a ratio with its minimum, if it has one above 1."""
    least = f" of at least {minimum:,}" if unit == "ratio" and minimum > 1 else ""
    return shown(threshold, unit) + least


def crossed(readings: Iterable[KpiReading]) -> list[KpiReading]:
    """Those that are crossed, critical ones first."""
    return sorted((each for each in readings if each.crossed), key=lambda each: each.severity != "critical")


def verdict(readings: Sequence[KpiReading]) -> str:
    """One sentence or two for people: which limits are crossed."""
    found = crossed(readings)
    if not found:
        unknown = sum(each.value is None for each in readings)
        return "No limit is crossed." + (f" {unknown} of {len(readings)} values are not known yet." if unknown else "")
    first = "; ".join(each.text for each in found[:MAX_NAMED])
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return f"{len(found)} limit{'s are' if len(found) > 1 else ' is'} crossed: {first}{more}."


def _percent(value: float) -> str:
    number = value * 100
    if number and number < 0.01:  # noqa: PLR2004  # what two decimals can show
        return "< 0.01 %"
    return f"{number:.2f}".rstrip("0").rstrip(".") + " %"


def _duration(seconds: float) -> str:
    """The two largest units of a time."""
    units = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"))
    for (size, name), (smaller, smaller_name) in zip(units, (*units[1:], (1, "s")), strict=True):
        if seconds >= size:
            rest = int(seconds % size // smaller)
            return f"{int(seconds // size)} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{seconds:.1f} s".replace(".0 s", " s")
