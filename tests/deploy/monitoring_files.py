"""What Prometheus and Grafana are given: made from the key figures, so that none is missing, and no limit is twice.

The rules read `pagefold_kpi_crossed`: limits and windows are those of the configuration of the shop, and need no change
here. Several servers of one shop report the same; an alert is one for all of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pagefold.engine.kpis.definitions import KPIS, Kpi, Unit
from tests.support.documents import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "rules.yml"
BOARD = MONITORING / "board.json"
HEADER = """\
# The alerts of a shop, for Prometheus. scripts/docs writes this file from engine/kpis/definitions.py: do not change it,
# have rules of your own beside it. Limits are those of [kpis] in the configuration of the shop.
"""

SHOWN: dict[Unit, str] = {
    "seconds": "{{ $value | humanizeDuration }}",
    "ratio": "{{ $value | humanizePercentage }}",
    "count": '{{ $value | printf "%.0f" }}',
    "per minute": '{{ $value | printf "%.0f" }} a minute',
}
"""A value in a template of Prometheus."""

GRAFANA_UNITS: dict[Unit, str] = {"seconds": "s", "ratio": "percentunit", "count": "short", "per minute": "short"}


def files() -> dict[Path, str]:
    """The files and their content."""
    return {RULES: rules(), BOARD: board()}


# --- rules ------------------------------------------------------------------------------------------


SHOP = (
    '{{ with printf "pagefold_shop_info{job=%q}" $labels.job | query }}{{ . | first | label "name" }}'
    '{{ with . | first | label "environment" }}, {{ . }}{{ end }}{{ end }}'
)
"""The name and environment of the shop, if its metrics can be read."""

RUNBOOK_URL = (
    '{{ with printf "pagefold_shop_info{job=%q,runbooks!=\\"\\"}" $labels.job | query }}'
    '{{ . | first | label "runbooks" }}/SECTION{{ end }}'
)
"""The address of a section of the runbooks, if the shop says where they are."""


def rules() -> str:
    """One alert for each key figure, and those that Prometheus alone can see."""
    groups = [
        {"name": "pagefold-kpis", "rules": [_alert_of(kpi) for kpi in KPIS]},
        {"name": "pagefold-processes", "rules": list(_of_processes())},
    ]
    return HEADER + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1_000, allow_unicode=True)


def alert_name(kpi: Kpi) -> str:
    """The name of its alert."""
    return "Pagefold" + "".join(part.capitalize() for part in kpi.name.split("-"))


def _alert_of(kpi: Kpi) -> dict[str, Any]:
    of = " of {{ $labels.label }}" if kpi.labelled_by else ""
    return _alert(
        alert_name(kpi),
        f'max by (job, label) (pagefold_kpi_value{{kpi="{kpi.name}"}}) '
        f'and max by (job, label) (pagefold_kpi_crossed{{kpi="{kpi.name}"}}) == 1',
        kpi.severity,
        f"{kpi.title}{of}: {SHOWN[kpi.unit]}",
        f"{kpi.text}. Above its limit, {kpi.meaning}." + _least(kpi),
        kpi.runbook,
    )


def _least(kpi: Kpi) -> str:
    """Of how many a ratio is crossed at all."""
    if kpi.unit != "ratio":
        return ""
    return f" Of fewer than pagefold_kpi_minimum, {kpi.minimum} unless configured, it is not crossed."


def _alert(name: str, expression: str, severity: str, summary: str, description: str, runbook: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": "1m",
        "labels": {"severity": severity},
        "annotations": {
            "summary": summary,
            "description": description,
            "shop": SHOP,
            "runbook": f"docs/runbooks.md#{runbook}",
            "runbook_url": RUNBOOK_URL.replace("SECTION", runbook),
        },
    }


def _of_processes() -> Iterator[dict[str, Any]]:
    yield _alert(
        "PagefoldDown",
        'up{job="pagefold"} == 0',
        "critical",
        "{{ $labels.instance }} does not answer",
        "Prometheus cannot read its metrics: it is down, its store is away, or the token was revoked.",
        "server-down",
    )
    yield _alert(
        "PagefoldMissing",
        'absent(up{job="pagefold"})',
        "critical",
        "No Pagefold is scraped",
        "Prometheus has no target of the job `pagefold`.",
        "server-down",
    )
    yield _alert(
        "PagefoldRestarting",
        "max by (job, instance, worker) (changes(pagefold_process_start_time_seconds[15m])) > 3",
        "warning",
        "Process {{ $labels.worker }} of {{ $labels.instance }} is started again and again",
        "It fails soon after each start. Its log says why.",
        "server-down",
    )


# --- board ------------------------------------------------------------------------------------------


class Query(NamedTuple):
    """An expression, and how its series are named."""

    expression: str
    legend: str


class Graph(NamedTuple):
    """One diagram of the board."""

    title: str
    unit: str
    queries: tuple[Query, ...]


_IN_5M = "[$__rate_interval]"

TRAFFIC = (
    Graph(
        "Page reads a second",
        "reqps",
        (
            Query(f"sum(rate(pagefold_page_reads_total{_IN_5M}))", "reads"),
            Query(f"sum(rate(pagefold_page_not_modified_total{_IN_5M}))", "not modified"),
        ),
    ),
    Graph(
        "Requests a second, by status",
        "reqps",
        (
            Query(f"sum by (status) (rate(pagefold_http_requests_total{_IN_5M}))", "{{status}}"),
            Query(f"sum by (status) (rate(pagefold_http_refused_total{_IN_5M}))", "{{status}} unread"),
        ),
    ),
    Graph(
        "Events a second, by outcome",
        "eps",
        (Query(f"sum by (outcome) (rate(pagefold_events_total{_IN_5M}))", "{{outcome}}"),),
    ),
    Graph(
        "Time of an append",
        "s",
        (
            Query(f"histogram_quantile(0.5, sum by (le) (rate(pagefold_append_seconds_bucket{_IN_5M})))", "median"),
            Query(f"histogram_quantile(0.99, sum by (le) (rate(pagefold_append_seconds_bucket{_IN_5M})))", "99 %"),
        ),
    ),
    Graph(
        "Events folded a second, by domain",
        "eps",
        (Query(f"sum by (domain) (rate(pagefold_folded_events_total{_IN_5M}))", "{{domain}}"),),
    ),
    Graph(
        "Time of a batch, 99 %, by domain",
        "s",
        (
            Query(
                f"histogram_quantile(0.99, sum by (le, domain) (rate(pagefold_fold_seconds_bucket{_IN_5M})))",
                "{{domain}}",
            ),
        ),
    ),
)

TARGETS = (
    Graph(
        "Pages delivered a second, by target",
        "ops",
        (
            Query(
                f'sum by (target) (rate(pagefold_target_deliveries_total{{outcome="delivered"}}{_IN_5M}))', "{{target}}"
            ),
        ),
    ),
    Graph(
        "Deliveries that failed, by target and outcome",
        "ops",
        (
            Query(
                'sum by (target, outcome) (rate(pagefold_target_deliveries_total{outcome=~"refused|dead|uncertain"}'
                f"{_IN_5M}))",
                "{{target}} {{outcome}}",
            ),
        ),
    ),
    Graph(
        "Requests a second, by target",
        "reqps",
        (
            Query(f"sum by (target) (rate(pagefold_target_requests_total{_IN_5M}))", "{{target}}"),
            Query(f"sum by (target) (rate(pagefold_target_throttled_total{_IN_5M}))", "{{target}} 429"),
        ),
    ),
    Graph(
        "Pages that wait, and are given up",
        "short",
        (
            Query("max by (target) (pagefold_target_waiting)", "{{target}}"),
            Query("max by (target) (pagefold_target_dead)", "{{target}} given up"),
        ),
    ),
    Graph(
        "Age of the oldest that waits",
        "s",
        (Query("max by (target) (pagefold_target_oldest_seconds)", "{{target}}"),),
    ),
    Graph(
        "Not as the shop has it, by target",
        "percentunit",
        (Query("max by (target) (pagefold_target_drift_ratio)", "{{target}}"),),
    ),
    Graph(
        "Out of order: down, failing, disabled or paused",
        "short",
        (
            Query(
                'max by (target, state) (pagefold_target_state{state=~"down|failing|disabled|paused"}) == 1',
                "{{target}} {{state}}",
            ),
        ),
    ),
    Graph("Pace", "percentunit", (Query("min by (target) (pagefold_target_pace)", "{{target}}"),)),
    Graph("Circuits that are open", "short", (Query("max by (target) (pagefold_target_circuit_open)", "{{target}}"),)),
)

_OF_CHANNELS = "max by (channel) (pagefold_{})"

STATE = (
    Graph(
        "Ready pages, by channel",
        "percentunit",
        (Query(f"{_OF_CHANNELS.format('pages_ready')} / {_OF_CHANNELS.format('pages')}", "{{channel}}"),),
    ),
    Graph("Since a source is in sync", "s", (Query("max by (source) (pagefold_source_synced_seconds)", "{{source}}"),)),
    Graph("Checks that fail", "short", (Query("max by (check) (1 - pagefold_check_ok) > 0", "{{check}}"),)),
    Graph("Store", "bytes", (Query("max by (part) (pagefold_store_bytes)", "{{part}}"),)),
    Graph(
        "CPU, by process",
        "percentunit",
        (Query(f"rate(pagefold_process_cpu_seconds_total{_IN_5M})", "{{instance}} {{worker}}"),),
    ),
    Graph("Memory, by process", "bytes", (Query("pagefold_process_resident_bytes", "{{instance}} {{worker}}"),)),
)

WIDTH, COLUMNS, HEIGHT = 24, 3, 7
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def board() -> str:
    """The board of Grafana: what is crossed, each key figure with its limit, traffic, and the state of the shop."""
    panels: list[dict[str, Any]] = [_crossed(), _table()]
    row = 6
    for title, graphs in (
        ("Key figures", list(map(_graph_of, KPIS))),
        ("Traffic", TRAFFIC),
        ("Targets", TARGETS),
        ("Shop", STATE),
    ):
        panels.append({"type": "row", "title": title, "gridPos": _place(row, 0, WIDTH, 1), "panels": []})
        for number, graph in enumerate(graphs):
            y, x = divmod(number, COLUMNS)
            panels.append(_panel(graph, _place(row + 1 + y * HEIGHT, x * WIDTH // COLUMNS, WIDTH // COLUMNS, HEIGHT)))
        row += 1 - len(graphs) // -COLUMNS * HEIGHT
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    whole = {
        "uid": "pagefold",
        "title": "Pagefold",
        "tags": ["pagefold"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": panels,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _graph_of(kpi: Kpi) -> Graph:
    values = Query(
        f'max by (label) (pagefold_kpi_value{{kpi="{kpi.name}"}})', "{{label}}" if kpi.labelled_by else kpi.title
    )
    return Graph(
        kpi.title, GRAFANA_UNITS[kpi.unit], (values, Query(f'max(pagefold_kpi_threshold{{kpi="{kpi.name}"}})', "limit"))
    )


def _place(y: int, x: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _targets(*queries: Query) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}
        for number, query in enumerate(queries)
    ]


def _panel(graph: Graph, place: dict[str, int]) -> dict[str, Any]:
    limit = {
        "matcher": {"id": "byName", "options": "limit"},
        "properties": [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 4]}},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
        ],
    }
    return {
        "type": "timeseries",
        "title": graph.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": _targets(*graph.queries),
        "fieldConfig": {"defaults": {"unit": graph.unit, "min": 0}, "overrides": [limit]},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _crossed() -> dict[str, Any]:
    colours = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "red", "value": 1}]}
    return {
        "type": "stat",
        "title": "Limits that are crossed",
        "datasource": _SOURCE,
        "gridPos": _place(0, 0, 6, 6),
        "targets": _targets(Query("sum(max by (kpi, label) (pagefold_kpi_crossed)) or vector(0)", "crossed")),
        "fieldConfig": {"defaults": {"unit": "short", "thresholds": colours}, "overrides": []},
        "options": {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}},
    }


def _table() -> dict[str, Any]:
    [target] = _targets(
        Query("max by (kpi, label) (pagefold_kpi_value) and max by (kpi, label) (pagefold_kpi_crossed) == 1", "")
    )
    return {
        "type": "table",
        "title": "What is crossed",
        "description": "docs/runbooks.md has a section for each.",
        "datasource": _SOURCE,
        "gridPos": _place(0, 6, WIDTH - 6, 6),
        "targets": [target | {"format": "table", "instant": True}],
        "transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True}}}],
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
    }
