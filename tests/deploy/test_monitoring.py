"""What Prometheus, Alertmanager and Grafana are given: up to date, read by their own tools, of metrics that exist."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from pagefold.engine.kpis.definitions import KPIS, Kpi, Unit
from tests.deploy.files import DEPLOY, document, needs, objects_with, program
from tests.deploy.monitoring_files import BOARD, MONITORING, RULES, alert_name, files
from tests.runbooks.scene import sections
from tests.support.command_line import event, lines_file, run_pagefold, settle
from tests.support.servers import Server, free_port, serving, within

PROMETHEUS = DEPLOY / "compose" / "prometheus.yml"
ALERTMANAGER = MONITORING / "alertmanager.yml"
CROSSED: Mapping[Unit, tuple[float, str]] = {
    "seconds": (400, "6m 40s"),
    "ratio": (0.5, "50%"),
    "count": (2_000, "2000"),
    "per minute": (90, "90 a minute"),
}
"""A value above the limit of every key figure of that unit, and how an alert says it."""
METRIC = re.compile(r"\bpagefold_\w+")


def alerts() -> Mapping[str, dict[str, Any]]:
    """The alerts by name."""
    return {each["alert"]: each for each in objects_with("alert", document(RULES))}


def expressions() -> list[str]:
    """Every expression of rules and board."""
    board = json.loads(BOARD.read_text("utf-8"))
    found = [each["expr"] for each in objects_with("expr", [board, document(RULES)])]
    return [each.replace("$__rate_interval", "5m") for each in found]


def checked(tool: str, *arguments: str) -> str:
    """What a program says of a good file."""
    done = subprocess.run([str(program(tool)), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_are_made_from_the_key_figures() -> None:
    """`python -m tests.deploy` writes the files."""
    for path, text in files().items():
        assert path.read_text("utf-8") == text, f"{path.name} is outdated: scripts/docs writes it"


def test_every_alert_has_its_runbook() -> None:
    """Each key figure has an alert of its severity; each alert leads to a section that exists."""
    found = alerts()
    for kpi in KPIS:
        assert found[alert_name(kpi)]["labels"]["severity"] == kpi.severity
    for name, alert in found.items():
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert page == "docs/runbooks.md"
        assert anchor in sections(), name
        assert f"/{anchor}{{{{ end }}}}" in alert["annotations"]["runbook_url"]


@needs("promtool")
def test_prometheus_reads_rules_and_board(tmp_path: Path) -> None:
    """Every expression parses, also those of the board."""
    assert f"{len(alerts())} rules found" in checked("promtool", "check", "rules", str(RULES))
    recorded = [{"record": f"x{number}", "expr": each} for number, each in enumerate(expressions())]
    path = tmp_path / "board.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": recorded}]}))
    checked("promtool", "check", "rules", str(path))


SAYS = {
    "": {"shop": "", "runbook_url": ""},
    'name="Sunrise", environment="", runbooks=""': {"shop": "Sunrise", "runbook_url": ""},
    'name="Sunrise", environment="staging", runbooks="https://shop.example/ui/runbooks"': {
        "shop": "Sunrise, staging",
        "runbook_url": "https://shop.example/ui/runbooks/",
    },
}
"""What an alert says of the shop, by the labels of `pagefold_shop_info`; without them, there is no such metric."""


def story(kpi: Kpi, shop: str) -> dict[str, Any]:
    """A test for `promtool`: two servers report for six minutes that a key figure is crossed, then that it is not."""
    value, shown = CROSSED[kpi.unit]
    label = {"label": "x"} if kpi.labelled_by else {}
    reported = {"job": "pagefold", "kpi": kpi.name, **label}
    series = [
        {"series": f"pagefold_kpi_{name}{selector({**reported, 'instance': server})}", "values": values}
        for server in "ab"
        for name, values in (("value", f"{value}x6 0x6"), ("crossed", "1x6 0x6"))
    ]
    if shop:
        series.append({"series": f'pagefold_shop_info{{job="pagefold", {shop}}}', "values": "1x12"})
    said = SAYS[shop]
    said = said | {"runbook_url": said["runbook_url"] and said["runbook_url"] + kpi.runbook}
    alert = alerts()[alert_name(kpi)]
    summary = re.sub(r"\{\{ \$value.*", shown, alert["annotations"]["summary"]).replace("{{ $labels.label }}", "x")
    fired = {
        "exp_labels": {"severity": kpi.severity, "job": "pagefold", **label},
        "exp_annotations": alert["annotations"] | {"summary": summary} | said,
    }
    return {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [
            {"eval_time": "4m", "alertname": alert["alert"], "exp_alerts": [fired]},
            {"eval_time": "10m", "alertname": alert["alert"], "exp_alerts": []},
        ],
    }


def selector(labels: Mapping[str, str]) -> str:
    """Labels as Prometheus writes them."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


@needs("promtool")
def test_an_alert_fires_once_and_ends(tmp_path: Path) -> None:
    """Two servers say the same of a key figure: that is one alert, which says the value, and ends with the trouble."""
    path = tmp_path / "stories.yml"
    tests = [story(kpi, shop) for kpi, shop in zip(KPIS, cycle(SAYS), strict=False)]
    stories = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    path.write_text(yaml.safe_dump(stories))
    assert "SUCCESS" in checked("promtool", "test", "rules", str(path))


@needs("amtool")
def test_alertmanager_wakes_somebody_for_what_is_critical() -> None:
    """The example is valid, and severities of the key figures go to different receivers."""
    checked("amtool", "check-config", str(ALERTMANAGER))
    route = ("config", "routes", "test", f"--config.file={ALERTMANAGER}")
    for severity, receiver in (("critical", "on-call"), ("warning", "office")):
        assert checked("amtool", *route, f"severity={severity}", "alertname=PagefoldLag").strip() == receiver
    named = set(re.findall(r"Pagefold\w+", ALERTMANAGER.read_text("utf-8")))
    assert named <= alerts().keys()


def test_the_board_has_every_key_figure() -> None:
    """With its limit; panels have numbers of their own, and do not overlap."""
    panels = json.loads(BOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for kpi in KPIS:
        [panel] = [each for each in panels if each["title"] == kpi.title and each["type"] == "timeseries"]
        assert [kpi.name in each["expr"] for each in panel["targets"]] == [True, True]
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@pytest.fixture
def kind() -> str:
    """SQLite alone: Prometheus does not know the difference."""
    return "sqlite"


@pytest.fixture
def server(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a shop in which nobody folds, and for which that is trouble after half a second."""
    place = settle(tmp_path, store_url, monkeypatch)
    with (place / "pagefold.toml").open("a", encoding="utf-8") as configuration:
        configuration.write("\n[kpis.lag]\nthreshold = 0.5\n")
    assert run_pagefold("ingest", lines_file(place / "a.ndjson", event())).code == 0
    with serving() as found:
        yield found


@contextmanager
def prometheus(folder: Path, server: Server, secret: str) -> Iterator[str]:
    """The address of a real Prometheus, with the configuration of compose and the rules, both without their pauses."""
    configuration = PROMETHEUS.read_text("utf-8")
    for old, new in {
        "server:8080": f"127.0.0.1:{server.port}",
        "15s": "1s",
        "alertmanager:9093": "127.0.0.1:1",
    }.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (folder / "tokens").mkdir()
    (folder / "tokens" / "metrics.token").write_text(secret)
    (folder / "prometheus.yml").write_text(configuration)
    (folder / "rules.yml").write_text(RULES.read_text("utf-8").replace("for: 1m", "for: 0s"))
    address = f"127.0.0.1:{free_port()}"
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    with subprocess.Popen([str(program("prometheus")), *options], cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


def check_metrics(served: str) -> None:
    """Fails unless each metric of rules and board is served."""
    names = set(re.findall(r"^# TYPE (\w+) ", served, re.MULTILINE))
    named = {name for each in expressions() for name in METRIC.findall(each)}
    assert len(named) > 15
    for name in named:
        assert name in names or re.sub(r"_(total|bucket|sum|count|info)$", "", name) in names, name


def firing(address: str) -> set[str] | None:
    """The alerts that Prometheus reports, with their labels; None while it starts."""
    try:
        answer = httpx2.get(f"{address}/api/v1/alerts", timeout=5)
    except httpx2.TransportError:
        return None
    if answer.status_code != 200:
        return None
    found = answer.json()["data"]["alerts"]
    return {f"{each['labels']['alertname']} {each['labels'].get('label')}" for each in found}


def test_every_metric_exists_and_a_real_prometheus_sees_trouble_come_and_go(server: Server, tmp_path: Path) -> None:
    """It scrapes the server as compose configures it; the alert of the lag fires, and ends after a worker has run."""
    check_metrics(server.get("/metrics").text)
    if program("prometheus") is None:
        pytest.skip("prometheus is not installed: scripts/install-linters")
    folder = tmp_path / "prometheus"
    folder.mkdir()
    secret = run_pagefold("tokens", "create", "--scope", "operate").out
    with prometheus(folder, server, secret) as address:
        within(40, "the lag is firing", lambda: "PagefoldLag pricing" in (firing(address) or ()))
        assert run_pagefold("work", "--once").code == 0
        within(40, "it is over", lambda: firing(address) == set())
