"""The tiles of the overview: one for each of the most important key figures, with its last 24 hours."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.charts import Sparkline, sparkline
from pagefold.engine.dashboard.screen import State
from pagefold.engine.kpis.definitions import BY_NAME
from pagefold.engine.kpis.readings import KpiReading, shown

TILES = ("lag", "queue", "failures", "conflicts", "drift", "throttled")
"""The key figures that have a tile, in order."""

WORST = {"lag": "Lag, worst domain"}
MINUTES = 24 * 60
POINTS = 144
"""Points of a line: one for ten minutes."""


class Tile(NamedTuple):
    """A key figure: its value split into number and unit, the limit in words, and the line of its last 24 hours.

    `runbook` is the section of the runbooks about it, if it is crossed.
    """

    title: str
    address: str
    value: str
    unit: str
    limit: str
    state: State
    line: Sparkline | None
    runbook: str = ""


class Watched(NamedTuple):
    """A key figure without a tile, in a few words; with the section of the runbooks about it, if it is crossed."""

    state: State
    text: str
    address: str
    runbook: str = ""


def cause_address(reading: KpiReading) -> str:
    """The address of a reading's cause."""
    return f"{href()}{'' if reading.cause.startswith('#') else '/'}{reading.cause}"


def worst_of(readings: Iterable[KpiReading], name: str) -> KpiReading | None:
    """The reading of a key figure that is crossed, or else highest; one that is known before others."""
    found = [each for each in readings if each.kpi == name]
    return max(found, key=lambda each: (each.crossed, each.value is not None, each.value or 0.0), default=None)


def tile_without(name: str) -> Tile:
    """The tile of a key figure that has no reading: no source is asked for changes."""
    return Tile(BY_NAME[name].title, href(), "–", "", "no source is asked", "wait", None)


def tile_of(reading: KpiReading, history: Mapping[int, float], minute: int) -> Tile:
    """The tile of a reading. `history` has its value by minute, `minute` is the current one."""
    value, unit = _split(reading)
    state: State = "bad" if reading.crossed else "wait" if reading.value is None or reading.is_of_too_few else "ok"
    limit = f"limit {reading.limit}"
    if reading.is_of_too_few:
        limit = f"{reading.numerator or 0:,.0f} of {reading.denominator or 0:,.0f} · {limit}"
    label = f"{reading.label} · " if reading.label else ""
    known = "not measured yet" if reading.value is None else limit
    title = WORST.get(reading.kpi, reading.title)
    line = sparkline(thinned(history, minute), reading.threshold)
    runbook = reading.runbook if reading.crossed else ""
    return Tile(title, cause_address(reading), value, unit, f"{label}{known}", state, line, runbook)


def _split(reading: KpiReading) -> tuple[str, str]:
    """A value as number and unit: a duration of minutes is written like a clock."""
    value = reading.value
    if value is None:
        return "–", ""
    if reading.unit == "seconds" and 60 <= value < 3_600:  # noqa: PLR2004  # minutes
        return f"{int(value) // 60}:{int(value) % 60:02}", "min"
    text = shown(value, reading.unit)
    if reading.unit == "per minute":
        return text.removesuffix("/min"), "/min"
    number, _, unit = text.rpartition(" ") if " " in text else (text, "", "")
    return number, unit


def thinned(history: Mapping[int, float], minute: int) -> list[float | None]:
    """The highest value of each ten minutes, oldest first; None where nothing is known. Nothing before the first."""
    if not history:
        return []
    step = MINUTES // POINTS
    begin = minute - MINUTES
    found: list[float | None] = []
    for index in range(POINTS):
        span = range(begin + index * step + 1, begin + (index + 1) * step + 1)
        known = [history[each] for each in span if each in history]
        found.append(max(known) if known else None)
    first = next((index for index, value in enumerate(found) if value is not None), len(found))
    return [0.0] * first + found[first:]


# --- also watched ---------------------------------------------------------------------------------

URGENCY: tuple[State, ...] = ("bad", "held", "warn", "move", "wait", "ok")
"""The states, the most urgent first."""

HELD = frozenset(["held-runs", "not-applied"])
"""Key figures of what waits for a person's yes."""

_WORDS = {
    "dead-letters": ("dead letter", "dead letters", "no dead letters"),
    "unmapped": ("unmapped attribute", "unmapped attributes", "every attribute is mapped"),
    "schema-drift": ("changed field", "changed fields", "no field has changed"),
    "held-runs": ("held run", "held runs", "no run is held"),
    "failed-rebuilds": ("failed rebuild", "failed rebuilds", "no rebuild has failed"),
    "expiring": ("dead letter expires", "dead letters expire", "no dead letter expires"),
    "refused": ("refused request a minute", "refused requests a minute", "no request is refused"),
    "delivery-queue": ("page waits to be delivered", "pages wait to be delivered", "no page waits to be delivered"),
    "checks": ("failed check", "failed checks", "every check passes"),
}


def watched(readings: Sequence[KpiReading]) -> list[Watched]:
    """The key figures without a tile, those that need somebody first."""
    found = []
    for name in dict.fromkeys(each.kpi for each in readings if each.kpi not in TILES):
        group = [each for each in readings if each.kpi == name]
        worst = worst_of(group, name)
        if worst is not None and worst.value is not None:
            runbook = worst.runbook if worst.crossed else ""
            found.append(Watched(state_of(group), _words(name, group), cause_address(worst), runbook))
    for name in ("looks-reset", "source-overdue"):
        if not any(each.kpi == name for each in readings):
            words = {"looks-reset": "no source looks reset", "source-overdue": "no source is overdue"}[name]
            found.append(Watched("ok", words, href()))
    return sorted(found, key=lambda each: URGENCY.index(each.state))


def state_of(group: Sequence[KpiReading]) -> State:
    """The state of the readings of one key figure."""
    crossed = [each for each in group if each.crossed]
    if any(each.kpi in HELD for each in crossed):
        return "held"
    if any(each.severity == "critical" for each in crossed):
        return "bad"
    return "warn" if crossed else "ok"


def _words(name: str, group: Sequence[KpiReading]) -> str:
    total = int(sum(each.value or 0 for each in group))
    crossed = [each for each in group if each.crossed]
    match name:
        case "not-applied":
            return "configuration not applied" if total else "configuration applied"
        case "looks-reset":
            return f"{crossed[0].label} looks reset" if crossed else "no source looks reset"
        case "source-overdue":
            return f"{crossed[0].label} is overdue" if crossed else "no source is overdue"
        case _ if name in _WORDS:
            one, many, none = _WORDS[name]
            return f"{total:,} {one if total == 1 else many}" if total else none
        case _:
            worst = worst_of(group, name)
            return "" if worst is None else worst.text
