"""Reports the results as a table, as JSON, as Markdown, or as a chart."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.measurement import Claim, Line, Spread

WIDTH = 150
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
FONT = 'font-family="sans-serif" font-size="12"'
LEFT, RIGHT, ROW, TOP = 520, 1020, 22, 60


class Report(msgspec.Struct, frozen=True):
    """The results of a run."""

    machine: dict[str, str]
    settings: dict[str, str]
    lines: list[Line]


def number(value: float) -> str:
    """A number with three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Spread) -> str:
    """The median, with the lowest and highest value."""
    return f"{number(values.median)} ({number(values.low)}–{number(values.high)})"


def bound(claim: Claim) -> str:
    """The claim's target."""
    if claim.at_least is not None:
        return f"≥ {claim.at_least:g}"
    return "" if claim.at_most is None else f"≤ {claim.at_most:g}"


def verdict(claim: Claim) -> str:
    """Whether the claim's target is met."""
    return {True: "met", False: "missed", None: ""}[claim.met]


def show(report: Report) -> None:
    """Prints the table, and the machine below it."""
    console = Console(width=None if Console().is_terminal else WIDTH, highlight=False)
    table = Table(title="Pagefold, its baseline and the eventsourcing library: median (lowest–highest) of the rounds")
    for heading in ("line", "store", "events", "absolute", "", "compared", "target", ""):
        table.add_column(heading, justify="right" if heading in {"events", "target"} else "left")
    for line in report.lines:
        _add(table, line)
    console.print(table)
    for name, value in {**report.machine, **report.settings}.items():
        console.print(Text(f"{name}: {value}"))


def _add(table: Table, line: Line) -> None:
    sides = [(name, f"{spread(values)} {line.unit}") for name, values in line.sides.items()]
    claims = [(f"{spread(claim.spread)} {claim.what}", bound(claim), verdict(claim)) for claim in line.claims]
    for index in range(max(len(sides), len(claims), 1)):
        head = (line.name, line.store, f"{line.events:,}" if line.events else "") if index == 0 else ("", "", "")
        side = sides[index] if index < len(sides) else ("", "")
        claim = claims[index] if index < len(claims) else ("", "", "")
        style = {"met": "green", "missed": "bold red"}.get(claim[2], "")
        table.add_row(*head, *side, claim[0], claim[1], Text(claim[2], style=style))
    table.add_section()


def as_json(report: Report) -> bytes:
    """The report as JSON, with `met` for each claim."""
    lines = [{**msgspec.to_builtins(line), "claims": [_claim(claim) for claim in line.claims]} for line in report.lines]
    document = {"machine": report.machine, "settings": report.settings, "lines": lines}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _claim(claim: Claim) -> dict[str, object]:
    return {**msgspec.to_builtins(claim), "met": claim.met}


def markdown(report: Report) -> str:
    """The tables of docs/benchmarks.md: a row for each line and number of events, two columns for each store."""
    stores = list(dict.fromkeys(line.store for line in report.lines))
    rows = dict.fromkeys((line.name, line.events, line.unit) for line in report.lines)
    by_key = {(line.name, line.events, line.store): line for line in report.lines}
    heading = "".join(f" | {STORES[store]} | compared" for store in stores)
    text = f"| line | events{heading} |\n|---|---{'|---' * 2 * len(stores)}|\n"
    for name, events, unit in rows:
        cells = [cell for store in stores for cell in _cells(by_key.get((name, events, store)))]
        text += f"| {' | '.join([f'{name}, {unit}', f'{events:,}' if events else '', *cells])} |\n"
    return text


def _cells(line: Line | None) -> tuple[str, str]:
    """The medians of the sides, and the comparisons with their targets."""
    if line is None:
        return "–", "–"
    sides = [f"{number(values.median)} {name}" for name, values in line.sides.items()]
    claims = [" ".join([spread(claim.spread), claim.what, _target(claim)]).rstrip() for claim in line.claims]
    return "<br>".join(sides), "<br>".join(claims)


def _target(claim: Claim) -> str:
    return f"({bound(claim)}: {verdict(claim)})" if bound(claim) else ""


def chart(report: Report, file: Path) -> None:
    """Draws every comparison as a dot with its spread on a logarithmic scale, and its target as a vertical bar."""
    found = [(line, claim) for line in report.lines for claim in line.claims if claim.spread.low > 0]
    file.write_text(_svg(found, report.machine), encoding="utf-8")


def _svg(found: Sequence[tuple[Line, Claim]], machine: dict[str, str]) -> str:
    height = TOP + ROW * len(found) + 60
    values = [value for _, claim in found for value in (claim.spread.low, claim.spread.high, *_bounds(claim))]
    low = math.floor(math.log10(min(values, default=1)))
    high = max(math.ceil(math.log10(max(values, default=10))), low + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{RIGHT + 90}" height="{height}" {FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="12" y="24" font-size="15">Pagefold: median and spread of each comparison, and its target</text>',
    ]
    for power in range(low, high + 1):
        x = _x(10.0**power, low, high)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 16}" y2="{height - 50}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP - 20}" text-anchor="middle" fill="#555">{10.0**power:g}</text>')
    for index, (line, claim) in enumerate(found):
        parts += _marks(line, claim, TOP + ROW * index, low, high)
    caption = "; ".join(machine.get(name, "") for name in ("processor", "kernel", "python"))
    parts.append(f'<text x="12" y="{height - 18}" fill="#555">{escape(caption)}</text></svg>')
    return "\n".join(parts)


def _marks(line: Line, claim: Claim, y: float, low: int, high: int) -> list[str]:
    colour = {True: "#1a7f37", False: "#b42318", None: "#475467"}[claim.met]
    events = f", {line.events:,}" if line.events else ""
    label = f"{line.name}, {line.store}{events}: {claim.what}"
    begin, middle, end = (_x(value, low, high) for value in (claim.spread.low, claim.spread.median, claim.spread.high))
    marks = [
        f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(label)}</text>',
        f'<line x1="{begin:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>',
        f'<circle cx="{middle:.1f}" cy="{y}" r="4" fill="{colour}"/>',
        f'<text x="{RIGHT + 12}" y="{y + 4}" fill="{colour}">{number(claim.spread.median)}</text>',
    ]
    for value in _bounds(claim):
        x = _x(value, low, high)
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 7}" y2="{y + 7}" stroke="#101828" stroke-width="2"/>')
    return marks


def _bounds(claim: Claim) -> list[float]:
    return [value for value in (claim.at_least, claim.at_most) if value is not None]


def _x(value: float, low: int, high: int) -> float:
    return LEFT + (RIGHT - LEFT) * (math.log10(value) - low) / (high - low)
