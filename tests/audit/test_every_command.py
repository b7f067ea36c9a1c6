"""Every command that changes something leaves an entry: a table has all commands, and a new one needs a line in it."""

import json
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from cyclopts import App

import pagefold
from pagefold import Config
from pagefold.engine.command.app import app
from pagefold.engine.dashboard.screens.audit import COMMANDS as LISTED
from pagefold.engine.requests.request_service import RequestService
from tests.support.command_line import event, lines_file, on_sqlite, product, run_pagefold

READS = "reads"
FOLDS = "folds, or serves those who do something"
FILES = "writes files, and no store"
TABLE: Mapping[str, str] = {
    **dict.fromkeys(("work", "serve", "demo"), FOLDS),
    **dict.fromkeys(("requirements import", "schema config", "contracts generate", "contracts suggest"), FILES),
    **dict.fromkeys(("check", "plan", "get", "why", "history", "diff", "completeness", "references", "status"), READS),
    **dict.fromkeys(("audit", "pages list", "pages export", "dead-letters list", "dead-letters causes"), READS),
    **dict.fromkeys(("dead-letters show", "rebuilds list", "rebuilds show", "schedule list", "schedule runs"), READS),
    **dict.fromkeys(("fetches list", "epochs list", "contracts list", "contracts show", "contracts test"), READS),
    **dict.fromkeys(("contracts check", "contracts diff", "contracts fields", "requirements list"), READS),
    **dict.fromkeys(("requirements show", "plans list", "plans show", "releases list", "releases show"), READS),
    **dict.fromkeys(("releases diff", "tokens list", "completion", "targets list"), READS),
    **dict.fromkeys(("targets show", "receipts", "changes", "sagas list", "sagas show"), READS),
    "init": "init",
    "ingest": "ingest",
    "apply": "apply",
    "sync": "sync",
    "rebuild": "rebuild",
    "verify": "verify",
    "recover": "recover",
    "backup": "backup",
    "restore": "restore",
    "dead-letters retry": "dead-letters retry",
    "dead-letters correct": "dead-letters correct",
    "dead-letters discard": "dead-letters discard",
    "dead-letters purge": "dead-letters purge",
    "rebuilds approve": "rebuilds approve",
    "rebuilds refuse": "rebuilds refuse",
    "schedule run": "verify",  # that of what the task does
    "schedule cancel": "requests cancel",
    "fetches run": "fetches run",
    "epochs raise": "epochs raise",
    "epochs dismiss": "epochs dismiss",
    "plans refuse": "plans refuse",
    "releases create": "releases create",
    "releases publish": "releases publish",
    "releases rollback": "releases rollback",
    "releases schedule": "releases schedule",
    "sagas compensate": "sagas compensate",
    "sagas resume": "sagas resume",
    "sagas settle": "sagas settle",
    "targets deliver": "targets deliver",
    "targets pause": "targets pause",
    "targets resume": "targets resume",
    "targets verify": "targets verify",
    "tokens create": "tokens create",
    "tokens revoke": "tokens revoke",
}
"""Each command: the action of its entry, or why it has none."""

CHANGES = {name: action for name, action in TABLE.items() if action not in (READS, FOLDS, FILES)}
CONFIG = """
apply = "always"
[store]
url = "sqlite:///shop"
[sources.pim]
domains = ["catalog"]
[sources.erp]
domains = ["pricing"]
[sources.erp.snapshot]
file = "prices.ndjson"
settle = "0s"
duration = "0s"
[sources.erp.delta]
url = "http://127.0.0.1:9/prices?since={since}"
contract = { sku = "item", sourceVersion = "rev", pricing = { currency = { constant = "EUR" }, amount = "price" } }
[channels.web-de]
locale = "de-DE"
currency = "EUR"
[targets.warehouse.files]
folder = "export"
[targets.market.files]
folder = "market"
[sagas.listing]
targets = ["warehouse", "market"]
[schedule.tasks.nightly]
cron = "0 3 * * *"
run = "verify"
"""
EMPTY = '{"snapshot":"begin","takenAt":"2036-01-01T00:00:00Z"}\n{"snapshot":"end","count":0}\n'
NINE = [f"SKU-{number}" for number in range(9)]


def commands(of: App = app, *path: str) -> Iterator[str]:
    """Every command, those of groups too."""
    for name in of:
        if not name.startswith("-"):
            inner = [each for each in of[name] if not each.startswith("-")]
            yield from commands(of[name], *path, name) if inner else (" ".join((*path, name)),)


def test_every_command_is_in_the_table() -> None:
    """A command that is not in the table fails here."""
    assert set(commands()) == TABLE.keys()


def test_the_audit_of_the_dashboard_selects_every_command() -> None:
    """And those who signed in."""
    assert {action.partition(" ")[0] for action in CHANGES.values()} | {"sign-in", "sign-out"} <= set(LISTED)


class Operator:
    """Somebody who does one thing after the other, and looks whether the audit has it."""

    def __init__(self) -> None:
        self.done: set[str] = set()

    def does(self, line: str, *codes: int, outcome: str = "done") -> str:
        """Runs a command of the table, which ends with 0 or one of the codes. Returns what it prints."""
        command = max((each for each in TABLE if f"{line} ".startswith(f"{each} ")), key=len)
        before = self.newest()
        ran = run_pagefold(*shlex.split(line))
        assert ran.code in (codes or (0,)), f"{line}: {ran.out}{ran.err}"
        if command in CHANGES:
            number, action, via, actor, found, text = self.newest()
            assert number > before[0], f"{line} has no entry"
            assert (action.partition(" --")[0], found) == (CHANGES[command], outcome), line
            assert (via, bool(actor), text) == ("command", True, f"pagefold {line}"), line
            self.done.add(command)
        return ran.out

    def newest(self) -> tuple[int, str, str, str, str, str]:
        """The newest entry."""
        if not Path("shop/events.db").exists():
            return (0, "", "", "", "", "")
        with closing(sqlite3.connect("shop/events.db")) as store:
            query = "SELECT number, action, via, actor, outcome, command FROM audit ORDER BY number DESC LIMIT 1"
            found: tuple[int, str, str, str, str, str] = store.execute(query).fetchone()
        return found


def prices(version: int, amount: str) -> list[dict[str, object]]:
    """A price of each product."""
    return [event(sku, version, amount) for sku in NINE]


@on_sqlite
@pytest.mark.usefixtures("kind")
def test_every_command_that_changes_something_leaves_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With who it was, what was typed, and what came of it; a failed one, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    (tmp_path / "pagefold.toml").write_text(CONFIG)
    operator = Operator()
    operator.does("init")
    _intake(operator, tmp_path)
    _decisions(operator)
    _runs(operator, tmp_path)
    assert CHANGES.keys() - operator.done == set()


def _intake(operator: Operator, folder: Path) -> None:
    lines_file(folder / "a.ndjson", *map(product, NINE), *prices(1, "9.90"), *prices(1, "8.80"))
    operator.does("ingest a.ndjson", 1)
    operator.does("work --once")
    operator.does("dead-letters retry ingest-1", 1)
    operator.does("dead-letters discard ingest-1 --reason x --as ada")
    (folder / "fixed.json").write_text('{"currency":"EUR","amount":"7.70"}')
    operator.does("dead-letters correct ingest-2 --payload fixed.json --reason x --as ada")
    operator.does("dead-letters purge ingest-3 --as ada")
    operator.does("sync erp", 3, outcome="failed")
    operator.does("fetches run")
    operator.does("schedule run nightly")
    asked = anyio.run(_ask)
    operator.does(f"schedule cancel {asked} --reason x --as ada")
    operator.does(f"schedule cancel {asked} --reason x --as ada", 1, outcome="refused")


async def _ask() -> int:
    """Somebody asks for a comparison on the dashboard. Returns the number of the request."""
    async with pagefold.open(Config.load(Path("pagefold.toml"))) as shop:
        return (await RequestService(shop).verify(5, by="ada", reason="x")).number


def _decisions(operator: Operator) -> None:
    operator.does("tokens create --scope operate")
    name = json.loads(run_pagefold("tokens", "list", "--json").out.splitlines()[0])["name"]
    operator.does(f"tokens revoke {name}")
    operator.does("epochs raise pim --reason x --as ada")
    operator.does("epochs dismiss pim --reason x --as ada", 1, outcome="refused")  # there is no warning
    kept = run_pagefold("plan", "--keep", "--json").document["id"]
    assert operator.newest()[1] == "plan --keep"
    operator.does(f"plans refuse {kept} --reason x --as ada")
    operator.does("apply --reason x --as ada")
    operator.does("releases create summer --reason x --as ada")
    operator.does("releases schedule summer 2036-01-01T00:00:00Z --reason x --as ada")
    operator.does("releases publish summer --reason x --as ada")
    operator.does("releases rollback summer --reason x --as ada")
    for verb in ("pause", "resume", "deliver --all"):
        line = f"targets {verb} warehouse --reason x --as ada"
        operator.does(line.replace("--all warehouse", "warehouse --all"))
    operator.does("targets verify warehouse", 0, 1)
    for verb in ("resume", "compensate", "settle"):
        operator.does(f"sagas {verb} listing MUG web-de --reason x --as ada", 1, outcome="refused")


def _runs(operator: Operator, folder: Path) -> None:
    operator.does("rebuild --source erp", 3, outcome="failed")
    for verb in ("refuse", "approve"):
        (folder / "prices.ndjson").write_text(EMPTY)
        operator.does("rebuild --source erp", 1)
        run = json.loads(run_pagefold("rebuilds", "list", "--json").out.splitlines()[0])["run"]
        operator.does(f"rebuilds {verb} {run} --reason x --as ada")
    operator.does("verify", 0, 1)
    operator.does("recover --yes")
    operator.does("backup copies/one")
    operator.does("restore copies/one")
