"""`pagefold rebuild`: what it prints, where, and with what exit code."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import orjson
import pytest

from tests.support.command_line import PROGRAM, event, on_sqlite, product, run_pagefold, settle
from tests.support.snapshot_folder import (
    SKUS,
    amount,
    counts_of,
    drift_of,
    export,
    held,
    prices,
    say,
    settle_with_snapshots,
)


@pytest.fixture
def shop(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with an empty store of each kind, and empty snapshots of the ERP and the PIM."""
    return settle_with_snapshots(tmp_path, store_url, monkeypatch)


# --- help and usage -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("rebuild",), ("rebuilds", "list"), ("rebuilds", "show"), ("verify",)], ids=" ".join
)
def test_help_explains_every_argument(command: tuple[str, ...]) -> None:
    """Each argument and option has a sentence."""
    ran = run_pagefold(*command, "--help")
    assert ran.code == 0
    entries = [line.strip("│ ") for line in ran.out.splitlines() if line.startswith("│ ") and line[2] != " "]
    assert not [entry for entry in entries if len(entry.split("  ", 1)) == 1 and not entry.endswith((".", "]"))]


def test_help_has_the_rules() -> None:
    """The help has the rules, what is never withdrawn, and the exit codes; the main help lists the commands."""
    text = " ".join(run_pagefold("rebuild", "--help").out.split())
    for words in ("orphan", "Nothing is withdrawn unless", "is held", "Exit codes:", "--resume RUN --yes"):
        assert words in text
    listed = run_pagefold("--help").out
    assert all(f"│ {name} " in listed for name in ("rebuild", "rebuilds", "verify"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rebuild", "--source", "crm"), "unknown source 'crm'; the sources are pim"),
        (("rebuild", "--source", "dam"), "sources.dam.snapshot"),
        (("rebuild", "--domain", "media"), "--domain: none of the sources to rebuild has the domain media"),
        (("rebuild", "--domain", "prices"), '"catalog", "pricing", "inventory", "media"'),
        (("rebuild", "--sku", ""), "--sku: '' must not be empty"),
        (("rebuild", "--sku", "A\x1b"), "--sku: 'A\\x1b' must not contain the control character U+001B"),
        (("rebuild", "--max-orphans", "many"), "--max-orphans: 'many' is neither a number such as 500"),
        (("rebuild", "--max-orphans", "101%"), "nor a share such as '5%'"),
        (("rebuild", "--from", "scratch"), '"log"'),
        (("rebuild", "--from", "log", "--source", "erp"), "--from log: reads no source; --source"),
        (
            ("rebuild", "--from", "log", "--max-orphans", "5%", "--yes"),
            "--max-orphans and --yes cannot be combined with it",
        ),
        (("rebuild", "--from", "log", "--resume", "erp-1"), "--resume cannot be combined with it"),
        (("rebuild", "--resume", "erp-1", "--source", "erp"), "--resume: continues a run as it was started"),
        (("rebuild", "--resume", "erp-1", "--dry-run", "--sku", "A"), "--sku and --dry-run cannot be combined with it"),
        (("rebuild", "--resume", "erp-1", "--domain", "pricing", "--max-orphans", "1"), "--domain and --max-orphans"),
        (("rebuilds", "list", "--limit", "0"), "--limit: 0 is less than 1"),
        (("verify", "--sample", "0"), "--sample"),
        (("verify", "--max-drift", "101"), "--max-drift"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@on_sqlite
def test_bad_usage_is_2(arguments: tuple[str, ...], words: str, shop: Path) -> None:
    """Contradictory or wrong options end with 2, and one line that says what is allowed."""
    code, out, err = run_pagefold(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert words in err


@on_sqlite
def test_without_any_snapshot_it_says_how_to_declare_one(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to rebuild from; comparing the pages needs no snapshot."""
    settle(tmp_path, store_url, monkeypatch)
    ran = run_pagefold("rebuild")
    assert ran.code == 2
    assert "[sources.pim.snapshot]" in ran.err
    assert 'file = "' in ran.err
    assert run_pagefold("rebuild", "--from", "log").code == 0


@on_sqlite
@pytest.mark.parametrize("arguments", [("rebuild",), ("rebuilds", "list"), ("verify",)], ids=" ".join)
def test_no_store_is_3(arguments: tuple[str, ...], shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the commands creates a store."""
    monkeypatch.setenv("PAGEFOLD_STORE", "sqlite:///nowhere")
    assert run_pagefold(*arguments).code == 3
    assert not (shop / "nowhere").exists()


# --- a run ----------------------------------------------------------------------------------------


def test_differences_are_repaired(shop: Path) -> None:
    """Missing, newer and changed rows reach the pages, older ones do not; JSON lists each of them.

    The snapshot was taken after the log's version of the older row: that needs a person.
    """
    equal, newer, changed, older, missing, gone = SKUS[:6]
    say(shop, *prices([equal, newer, changed, older, gone, *SKUS[10:30]]), *(product(sku) for sku in SKUS[:6]))
    rows = [
        *prices([equal]),
        event(newer, 6, "6.66"),
        event(changed, 5, "5.55"),
        event(older, 4, "4.44"),
        event(missing, 1, "1.11"),
        *prices(SKUS[10:30]),
    ]
    export(shop, *rows)
    ran = run_pagefold("rebuild", "--source", "erp", "--json")
    assert ran.code == 1
    [run] = ran.document["runs"]
    assert counts_of(run) == {
        "rows": 25,
        "equal": 21,
        "missing": 1,
        "newer": 1,
        "changed": 1,
        "older": 1,
        "reset": 1,
        "orphans": 1,
        "withdrawn": 1,
    }
    found = {newer: "newer", changed: "changed", older: "older", missing: "missing", gone: "orphan"}
    assert drift_of(run) == {f"{sku}/*/pricing/erp": drift for sku, drift in found.items()}
    assert ran.document["pages"] == {"sections": 78, "changed": 0, "behind": 0, "drift": []}
    assert (ran.document["errors"], ran.document["exitCode"]) == ([], 1)
    assert [amount(sku) for sku in SKUS[:6]] == ["0.00", "6.66", "5.55", "3.00", "1.11", None]
    text = run_pagefold("history", changed, "--domain", "pricing").out
    assert f"by rebuild {run['run']}: the source's snapshot has another content at this version" in text


@on_sqlite
def test_the_report_of_a_run(shop: Path) -> None:
    """Each source has a block with its run, counts, samples by field and refusals; a line reports the pages."""
    say(shop, *prices())
    bad = event("SKU-900", 1, 1.5)
    export(shop, *prices(SKUS[:38]), event(SKUS[38], 5, "9.99"), bad)
    ran = run_pagefold("rebuild", "--source", "erp")
    assert ran.code == 1
    first, place, counts, *rest = ran.out.splitlines()
    assert re.fullmatch(r"erp  completed  erp-\d{8}T\d{6}-[0-9a-f]{4}", first)
    assert re.fullmatch(r"  erp\.ndjson: 40 rows in \d+ ms", place)
    assert counts == "  38 equal, 1 changed, 1 refused, 1 orphan, 1 withdrawn"
    assert rest[:5] == [
        "  SKU-038/*/pricing/erp  changed",
        '    ~ amount: "38.00" → "9.99"',
        "  not in the snapshot:",
        "    SKU-039/*/pricing/erp",
        '  row 40: payload.amount: expected `str`, got `float`; money is a decimal string such as "149.90"',
    ]
    assert re.fullmatch(r"pages  120 sections in \d+ ms: none has drifted", rest[5])
    assert (len(rest), ran.err) == (6, "")


@on_sqlite
def test_only_some_samples_are_shown(shop: Path) -> None:
    """The first five differences and refusals are shown, and the others counted; the run's record has more."""
    export(shop, *prices(), *(event(f"X-{number}", 1, 1.5) for number in range(9)))
    ran = run_pagefold("rebuild", "--source", "erp")
    run_id = ran.out.split()[2]
    assert ran.out.count("  missing\n") == ran.out.count("  row ") == 5
    assert f"… and 35 more; `pagefold rebuilds show {run_id} --json` lists all of them" in ran.out
    assert "… and 4 more\n" in ran.out
    shown = run_pagefold("rebuilds", "show", run_id).out
    assert (shown.count("  missing\n"), shown.count("  row ")) == (20, 9)


@on_sqlite
def test_sources_are_rebuilt_one_after_the_other(shop: Path) -> None:
    """By default these are all sources with a snapshot, in the file's order, and the pages of their domains."""
    say(shop, *prices(), *(product(sku) for sku in SKUS))
    export(shop, *prices())
    export(shop, *(product(sku) for sku in SKUS), source="pim")
    document = run_pagefold("rebuild", "--json").document
    assert [run["source"] for run in document["runs"]] == ["pim", "erp"]
    assert document["pages"]["sections"] == 3 * 40 + 3 * 40
    document = run_pagefold("rebuild", "--domain", "pricing", "--json").document
    assert [run["source"] for run in document["runs"]] == ["erp"]
    assert document["pages"]["sections"] == 3 * 40


@on_sqlite
def test_a_prefix_limits_a_run(shop: Path) -> None:
    """Only SKUs with the prefix are compared and withdrawn, in the log and on pages."""
    say(shop, *prices(version=4))
    export(shop, *prices(SKUS[:19]))
    ran = run_pagefold("rebuild", "--source", "erp", "--sku", "SKU-01", "--max-orphans", "1", "--json")
    assert ran.code == 0
    [run] = ran.document["runs"]
    assert (run["prefix"], counts_of(run)) == ("SKU-01", {"rows": 9, "newer": 9, "orphans": 1, "withdrawn": 1})
    assert ran.document["pages"]["sections"] == 3 * 10


@on_sqlite
def test_a_dry_run_changes_nothing(shop: Path) -> None:
    """It reports what a run would find, in any order of the rows, exits with 1 for drift, and leaves no trace."""
    say(shop, *prices(version=4))
    rows = prices(SKUS[1:])
    pages = [run_pagefold("get", sku, "web-de", "--disabled") for sku in SKUS[::4]]
    before = run_pagefold("status", "--json").document
    for order in (rows, rows[::-1]):
        export(shop, *order)
        ran = run_pagefold("rebuild", "--source", "erp", "--dry-run", "--json")
        assert ran.code == 1
        [run] = ran.document["runs"]
        assert (run["run"], run["dryRun"], counts_of(run)) == (None, True, {"rows": 39, "newer": 39, "orphans": 1})
        assert drift_of(run) == {f"{sku}/*/pricing/erp": "newer" for sku in SKUS[1:]} | {
            f"{SKUS[0]}/*/pricing/erp": "orphan"
        }
    assert "erp  completed  dry run" in run_pagefold("rebuild", "--source", "erp", "--dry-run").out
    assert run_pagefold("rebuilds", "list", "--json").out == ""
    assert run_pagefold("status", "--json").document == before
    assert [run_pagefold("get", sku, "web-de", "--disabled") for sku in SKUS[::4]] == pages
    export(shop, *prices(version=4))
    assert run_pagefold("rebuild", "--source", "erp", "--dry-run").code == 0


# --- what needs a person --------------------------------------------------------------------------


def test_too_many_orphans_are_held(shop: Path) -> None:
    """They are listed, and kept until `--yes`; then they are withdrawn and folded."""
    ran = held(shop)
    [run] = ran.document["runs"]
    assert (ran.code, run["state"], run["heldLimit"], run["live"]) == (1, "held", 5, 40)
    assert amount(SKUS[0]) == "0.00"
    again = run_pagefold("rebuild", "--resume", run["run"])
    assert (again.code, "pages" in again.out) == (1, False)
    assert (
        "held: the snapshot lacks 6 of the 40 streams of erp in the log; at most 5 may be withdrawn without --yes"
        in again.out
    )
    assert all(f"    {sku}/*/pricing/erp" in again.out for sku in SKUS[:6])
    assert again.err.startswith(f"`pagefold rebuild --resume {run['run']} --yes` withdraws them; `pagefold rebuilds")
    ran = run_pagefold("rebuild", "--resume", run["run"], "--yes", "--json")
    assert (ran.code, ran.document["runs"][0]["counts"]["withdrawn"], amount(SKUS[0])) == (0, 6, None)
    ran = run_pagefold("rebuild", "--resume", run["run"])
    assert (ran.code, ran.err) == (0, f"the rebuild {run['run']} is completed already\n")
    assert "pages  " in ran.out


def test_corrections_that_remove_values_are_held(shop: Path) -> None:
    """They are listed by attribute, with the log's values, in a dry run as well, and wait for `--yes`."""
    names = [product(sku) for sku in SKUS]
    say(shop, *names)
    emptied = [each | {"payload": {}} for each in names[:30]]
    export(shop, *emptied, *names[36:], source="pim")
    dry = run_pagefold("rebuild", "--source", "pim", "--dry-run")
    ran = run_pagefold("rebuild", "--source", "pim")
    run_id = ran.out.split()[2]
    lines = ran.out.splitlines()
    assert (ran.code, dry.code, lines[0]) == (1, 1, f"pim  held  {run_id}")
    assert lines[2] == "  4 equal, 30 changed, 6 orphans"
    held = (
        "held: of the 40 streams of pim in the log, at most 5 may lose values without --yes, "
        "so nothing is removed or withdrawn"
    )
    assert lines[3:6] == [f"  {held}", "  the snapshot lacks 6 of them", "  30 would lose all values"]
    assert "  30 would lose attributes.colour" in lines
    assert f"    {SKUS[0]}/*/catalog/pim: " in ran.out
    assert lines[3:9] == dry.out.splitlines()[3:9]
    assert f"`pagefold rebuild --resume {run_id} --yes` removes and withdraws all of that" in ran.err
    assert "`pagefold rebuild --source pim --yes` removes and withdraws all of that" in dry.err
    assert run_pagefold("get", SKUS[0], "web-de").code == 0
    run = run_pagefold("rebuilds", "show", run_id, "--json").document
    assert (run["state"], run["losses"][0]["path"], run["losses"][0]["streams"]) == ("held", "", 30)
    assert run["losses"][-1]["samples"][0].keys() == {"stream", "log"}
    done = run_pagefold("rebuild", "--resume", run_id, "--yes", "--json")
    [run] = done.document["runs"]
    assert (done.code, run["state"], run["losses"]) == (0, "completed", [])
    assert counts_of(run) == {"rows": 34, "equal": 4, "changed": 30, "orphans": 6, "withdrawn": 6}


@on_sqlite
def test_rows_and_streams_outside_the_snapshot_are_counted(shop: Path) -> None:
    """Rows of unknown channels, and streams that no row can name, are counted; the exit code is 0."""
    elsewhere = event("SKU-007", 1, "1.00") | {"channel": "web-pl"}
    say(shop, *prices(), event("SKU-001", 1, "1.00") | {"channel": "web-de"})
    file = shop / "pagefold.toml"
    file.write_text(file.read_text().replace('file = "erp.ndjson"', 'file = "erp.ndjson"\nconstants = {channel = "*"}'))
    export(shop, *prices())
    ran = run_pagefold("rebuild", "--source", "erp")
    assert (ran.code, ran.out.splitlines()[2]) == (0, "  40 equal, 1 not covered")
    file.write_text(file.read_text().replace('\nconstants = {channel = "*"}', ""))
    export(shop, *prices(), elsewhere, event("SKU-001", 1, "1.00") | {"channel": "web-de"})
    ran = run_pagefold("rebuild", "--source", "erp")
    assert (ran.code, ran.out.splitlines()[2]) == (0, "  41 equal, 1 of no channel here")


@on_sqlite
@pytest.mark.parametrize(("option", "code"), [("--max-orphans=5", 1), ("--max-orphans=15%", 0), ("--yes", 0)])
def test_the_limit_can_be_another(shop: Path, option: str, code: int) -> None:
    """It may be a number or a share of the streams."""
    held(shop)
    assert run_pagefold("rebuild", "--source", "erp", "--dry-run", option).code == 1
    assert run_pagefold("rebuild", "--source", "erp", option).code == code


@on_sqlite
def test_an_incomplete_snapshot_withdraws_nothing(shop: Path) -> None:
    """Its rows are repaired, and a message says that nothing is withdrawn, and why."""
    say(shop, *prices())
    export(shop, *prices(SKUS[:10]), event("SKU-005A", 1, "1.00"), end=False)
    ran = run_pagefold("rebuild", "--source", "erp")
    assert ran.code == 1
    assert re.search(r"  the snapshot is incomplete \(.+\): nothing is withdrawn\n", ran.out)
    assert "not in the snapshot" not in ran.out
    run = run_pagefold("rebuilds", "show", ran.out.split()[2], "--json").document
    assert (run["complete"], run["counts"]["missing"], run["counts"]["withdrawn"]) == (False, 1, 0)


@on_sqlite
def test_an_unreadable_row_withdraws_nothing(shop: Path) -> None:
    """The row may be of any SKU."""
    say(shop, *prices())
    export(shop, *prices(SKUS[:39]), b"nonsense")
    ran = run_pagefold("rebuild", "--source", "erp")
    assert ran.code == 1
    assert "  the stream of 1 row could not be read: nothing is withdrawn\n" in ran.out
    assert "row 40: " in ran.out
    assert "withdrawn" not in ran.out.splitlines()[2]


@on_sqlite
def test_a_source_that_looks_reset_is_reported(shop: Path) -> None:
    """If rows are older than the log in a snapshot that was taken later, the run and `status` report it.

    With --new-epoch, the snapshot's rows count.
    """
    say(shop, *prices(version=900))
    export(shop, *prices(version=1))
    ran = run_pagefold("rebuild", "--source", "erp")
    assert ran.code == 1
    words = "source looks reset: 40 rows of the snapshot of erp, which was taken later, are older than the log"
    assert words in ran.out
    assert "  older than the log, in a snapshot taken later:\n    SKU-000/*/pricing/erp\n" in ran.out
    assert run_pagefold("status").code == 1
    assert "`pagefold rebuild --source erp --new-epoch` starts a new epoch" in " ".join(ran.out.split())
    ran = run_pagefold("rebuild", "--source", "erp", "--new-epoch")
    assert (ran.code, "40 newer" in ran.out) == (0, True)
    assert run_pagefold("status").code == 0
    [run] = run_pagefold("rebuild", "--source", "erp", "--json").document["runs"]
    assert (counts_of(run), run["looksReset"]) == ({"rows": 40, "equal": 40}, False)


@on_sqlite
@pytest.mark.parametrize(
    "arguments",
    [("--new-epoch",), ("--new-epoch", "--source", "erp", "--sku", "S"), ("--new-epoch", "--from", "log")],
)
def test_a_new_epoch_is_of_a_whole_source(shop: Path, arguments: tuple[str, ...]) -> None:
    """It needs the source's name, and no other limits."""
    ran = run_pagefold("rebuild", *arguments)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "--new-epoch" in ran.err


@on_sqlite
def test_a_source_that_fails_stops_no_other(shop: Path) -> None:
    """Its error is printed, the other sources are rebuilt and folded, and the exit code is 3."""
    (shop / "pim.ndjson").unlink()
    export(shop, *prices())
    ran = run_pagefold("rebuild", "--json")
    assert (ran.code, ran.document["exitCode"]) == (3, 3)
    [error] = ran.document["errors"]
    assert (error["source"], "pim.ndjson" in error["error"]) == ("pim", True)
    assert ran.err == f"pagefold: {error['error']}\n"
    [run] = ran.document["runs"]
    assert (run["source"], run["counts"]["missing"], ran.document["pages"]["sections"]) == ("erp", 40, 120)


@on_sqlite
def test_a_missing_secret_is_2(shop: Path) -> None:
    """A secret that is missing in the environment is a configuration error; the other sources are rebuilt."""
    file = shop / "pagefold.toml"
    text = file.read_text().replace('file = "pim.ndjson"', 'url = "http://localhost:1/"\ntoken_variable = "NO_TOKEN"')
    file.write_text(text)
    ran = run_pagefold("rebuild", "--json")
    assert ran.code == 2
    assert "NO_TOKEN" in ran.err
    assert [run["source"] for run in ran.document["runs"]] == ["erp"]


# --- on a terminal --------------------------------------------------------------------------------


@on_sqlite
def test_bars_fit_a_terminal(shop: Path) -> None:
    """On 80 columns a bar is one line, whatever its text, and is removed at the end."""
    export(shop, *(event(f"SKU-{number:06}", 1, "1.00") for number in range(30_000)))
    terminal, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
    command = [*PROGRAM, "rebuild", "--source", "erp", "--json"]
    with (shop / "out.json").open("wb") as out, subprocess.Popen(command, stdout=out, stderr=other_end) as process:
        os.close(other_end)
        shown = b""
        with contextlib.suppress(OSError):  # Linux's answer at the end of a terminal
            while piece := os.read(terminal, 100_000):
                shown += piece
        os.close(terminal)
    assert (process.returncode, orjson.loads((shop / "out.json").read_bytes())["exitCode"]) == (0, 0)
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]+", shown.decode())]
    assert any(line.startswith("erp ") and "rows, " in line for line in lines)
    assert any(line.startswith("pages ") and "sections, " in line for line in lines)
    assert max(map(len, lines)) <= 80
