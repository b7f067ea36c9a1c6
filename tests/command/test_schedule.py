"""`pagefold schedule`: lists tasks and their runs, and runs one now."""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from tests.support.command_line import run_pagefold

CONFIG = """
[store]
url = "sqlite:///store"
[sources.erp]
domains = ["pricing"]
snapshot = { file = "prices.ndjson" }
[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""
TASKS = """
[schedule.tasks.nightly]
run = "verify"
cron = "0 4 * * *"
[schedule.tasks.weekly]
run = "rebuild"
cron = "30 2 * * sun"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration that has two tasks, and a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    (tmp_path / "pagefold.toml").write_text(CONFIG + TASKS)
    assert run_pagefold("init").code == 0
    return tmp_path


@pytest.mark.usefixtures("place")
def test_tasks_that_never_ran() -> None:
    """When they run next, in UTC; exit code 0."""
    code, out, err = run_pagefold("schedule")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["task", "nightly", "weekly"]
    tasks = [orjson.loads(line) for line in run_pagefold("schedule", "list", "--json").out.splitlines()]
    assert [(each["task"], each["run"], each["last"]) for each in tasks] == [
        ("nightly", "verify", None),
        ("weekly", "rebuild", None),
    ]
    following = [datetime.fromisoformat(each["next"]) for each in tasks]
    assert [(each.hour, each.minute) for each in following] == [(4, 0), (2, 30)]
    assert all(each > datetime.now(UTC) for each in following)


def test_runs_by_hand(place: Path) -> None:
    """What was found is printed and kept; exit code 1 if something needs attention, and for the list then, too."""
    assert run_pagefold("schedule", "run", "nightly") == (0, "", "nightly: done; 0 sections, 0 drifted\n")
    code, _, err = run_pagefold("schedule", "run", "weekly")
    assert code == 1
    assert err.startswith("weekly: failed; erp: ")
    (place / "prices.ndjson").write_text(
        '{"sku":"A","sourceVersion":1,"occurredAt":"2026-01-01T00:00:00Z","payload":{"currency":"EUR","amount":"9.00"}}\n'
    )
    code, _, err = run_pagefold("schedule", "run", "weekly")
    assert (code, err) == (
        1,
        "weekly: attention; erp: 1 rows, 1 drifted, 0 withdrawn, 0 refused; incomplete: has no end marker\n",
    )
    code, out, _ = run_pagefold("schedule")
    assert code == 1
    assert "incomplete" in out
    code, out, _ = run_pagefold("schedule", "runs", "weekly", "--json")
    assert (code, [orjson.loads(line)["state"] for line in out.splitlines()]) == (0, ["attention", "failed"])
    assert len(run_pagefold("schedule", "runs").out.splitlines()) == 4


@pytest.mark.usefixtures("place")
def test_an_unknown_task() -> None:
    """It is named, with the nearest one."""
    code, _, err = run_pagefold("schedule", "run", "nigthly")
    assert code == 2
    assert "unknown task 'nigthly'; did you mean 'nightly'" in err


def test_a_shop_without_tasks(place: Path) -> None:
    """It is told how to add one."""
    (place / "pagefold.toml").write_text(CONFIG + "[schedule]\nnightly_sample = 0\n")
    assert run_pagefold("schedule") == (0, "", "no tasks: [schedule.tasks.NAME] in the configuration adds one\n")
    assert run_pagefold("schedule", "runs") == (0, "", "no runs yet\n")


def test_every_shop_compares_a_sample_every_night(place: Path) -> None:
    """Unless a task compares pages. What it finds is the key figure of drift."""
    (place / "pagefold.toml").write_text(CONFIG + "[schedule]\nnightly_sample = 10\n")
    [task] = [orjson.loads(line) for line in run_pagefold("schedule", "list", "--json").out.splitlines()]
    assert (task["task"], task["run"], task["cron"]) == ("nightly-sample", "verify", "20 3 * * *")
    (place / "events.ndjson").write_text(
        '{"type":"pricing","sku":"A","channel":"*","source":"erp","sourceVersion":1,'
        '"occurredAt":"2026-01-01T00:00:00Z","payload":{"currency":"EUR","amount":"9.00"}}\n'
    )
    assert run_pagefold("ingest", "events.ndjson").code == 0
    assert run_pagefold("work", "--once").code == 0
    assert run_pagefold("schedule", "run", "nightly-sample").code == 0
    kpis = {each["kpi"]: each for each in run_pagefold("status", "--json").document["kpis"]}
    assert (kpis["drift"]["value"], kpis["drift"]["numerator"]) == (0.0, 0.0)
    assert kpis["drift"]["denominator"] >= 1


def test_targets_are_compared_by_a_task(place: Path) -> None:
    """The list has its run, and the configuration names a target that it does not have."""
    tables = (
        '[targets.export.files]\nfolder = "out"\n[schedule.tasks.outside]\nrun = "verify-targets"\ncron = "0 4 * * *"\n'
    )
    (place / "pagefold.toml").write_text(CONFIG + tables)
    assert run_pagefold("schedule", "run", "outside") == (
        0,
        "",
        "outside: done; target export: 0 pages, 0 not noted\n",
    )
    listed = [orjson.loads(line) for line in run_pagefold("schedule", "list", "--json").out.splitlines()]
    assert [(each["run"], each["last"]["state"]) for each in listed if each["task"] == "outside"] == [
        ("verify-targets", "done")
    ]
    (place / "pagefold.toml").write_text(CONFIG + tables + 'targets = ["exprot"]\n')
    code, _, err = run_pagefold("check")
    assert code == 2
    assert "pagefold.toml:15: schedule.tasks.outside.targets: unknown target 'exprot'; did you mean 'export'?" in err


def test_a_cron_line_that_is_none(place: Path) -> None:
    """`pagefold check` and every command that needs the schedule name its line."""
    (place / "pagefold.toml").write_text(CONFIG + TASKS.replace("30 2 * * sun", "sundays"))
    for command in (["check"], ["schedule"], ["schedule", "run", "nightly"]):
        code, _, err = run_pagefold(*command)
        assert code == 2
        assert "pagefold.toml:16: schedule.tasks.weekly.cron: 'sundays' is not a cron line" in err
