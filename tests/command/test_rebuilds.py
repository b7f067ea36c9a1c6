"""`pagefold rebuilds` and `verify`, runs that were interrupted, and pages that were damaged."""

import re
from pathlib import Path

import anyio
import msgspec
import orjson
import pytest

import pagefold
from pagefold.engine.command.console import JSONList, percent
from pagefold.engine.rebuild.run_records import RunSpec
from tests.support.command_line import Ran, event, finished, lines_file, on_sqlite, product, run_pagefold, spawn
from tests.support.rebuild_fixtures import Intruder
from tests.support.snapshot_folder import SKUS, amount, counts_of, drift_of, export, prices, say, settle_with_snapshots


@pytest.fixture
def shop(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with an empty store of each kind, and empty snapshots of the ERP and the PIM."""
    return settle_with_snapshots(tmp_path, store_url, monkeypatch)


# --- runs that are under way ----------------------------------------------------------------------


A_PLAN = RunSpec(
    source="erp",
    domains=["pricing"],
    start_position=0,
    snapshot="elsewhere",
    identity="elsewhere",
    process="elsewhere:1",
)


async def begun() -> str:
    """The id of a run that was started, and whose process is gone."""
    async with pagefold.open() as shop, shop.rebuilds() as office:
        return (await office.runs.start(A_PLAN)).id


def test_a_run_whose_process_is_gone_is_interrupted(shop: Path) -> None:
    """It is listed as interrupted; with another snapshot it cannot be resumed, and the next run supersedes it."""
    run_id = anyio.run(begun)
    [listed] = run_pagefold("rebuilds", "list", "--json").documents
    assert (listed["run"], listed["state"]) == (run_id, "interrupted")
    ran = run_pagefold("rebuilds", "show", run_id)
    assert ran.err == f"`pagefold rebuild --resume {run_id}` resumes it\n"
    ran = run_pagefold("rebuild", "--resume", run_id, "--json")
    assert (ran.code, ran.document["runs"], ran.document["pages"]) == (1, [], None)
    assert f"the rebuild {run_id} cannot be resumed" in ran.document["errors"][0]["error"]
    assert run_pagefold("rebuild", "--source", "erp").code == 0
    ran = run_pagefold("rebuilds", "show", run_id)
    assert "failed: superseded by erp-" in ran.out
    assert ran.err == ""


@on_sqlite
def test_a_source_is_rebuilt_by_one_process_at_a_time(shop: Path) -> None:
    """While another process rebuilds the source, nothing is done: exit code 1, and no pages are compared."""

    async def claimed() -> Ran:
        async with pagefold.open() as opened, opened.store.coordination.claim("rebuild-erp") as mine:
            assert mine
            return await anyio.to_thread.run_sync(lambda: finished(spawn("rebuild", "--source", "erp", "--json")))

    ran = anyio.run(claimed)
    assert (ran.code, ran.document["runs"], ran.document["pages"]) == (1, [], None)
    assert "erp is being rebuilt" in ran.err


@on_sqlite
def test_an_unknown_run_is_1(shop: Path) -> None:
    """The message says which command lists the runs."""
    words = "pagefold: there is no rebuild 'erp-1'; `pagefold rebuilds list` shows them\n"
    for arguments in (("rebuild", "--resume", "erp-1"), ("rebuilds", "show", "erp-1")):
        assert run_pagefold(*arguments) == (1, "", words)


@on_sqlite
def test_an_interrupted_run_says_how_to_resume_it(shop: Path) -> None:
    """Ctrl-C ends it at once with 130 and prints its run so far, as one document; resumed, it has the same result."""
    skus = [f"SKU-{number:06}" for number in range(40_000)]
    export(shop, *(event(sku, 1, "1.00") for sku in skus))
    process = spawn("rebuild", "--source", "erp", "--json")
    while not anyio.run(appended):
        assert process.poll() is None
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    document = orjson.loads(out)
    [run] = document["runs"]
    assert (process.returncode, document["exitCode"], run["state"]) == (130, 130, "interrupted")
    assert err.endswith(f"interrupted: `pagefold rebuild --resume {run['run']}` resumes it\n")
    assert len(run["drift"]) == run["counts"]["missing"] < len(skus)
    ran = run_pagefold("rebuild", "--resume", run["run"], "--json")
    assert (ran.code, counts_of(ran.document["runs"][0])) == (0, {"rows": len(skus), "missing": len(skus)})
    assert len(ran.document["runs"][0]["drift"]) == len(skus)


async def appended() -> bool:
    """Whether a run has recorded any finding."""
    async with pagefold.open() as shop, shop.rebuilds() as office:
        newest = await office.newest(1)
    return bool(newest and newest[0].counts.missing)


# --- the record -----------------------------------------------------------------------------------


def test_runs_are_listed_and_shown(shop: Path) -> None:
    """Newest first, of one source or all; a run is shown with the values of the fields that differed."""
    assert run_pagefold("rebuilds", "list") == (0, "", "no rebuilds yet\n")
    say(shop, *prices(version=4))
    export(shop, *prices())
    document = run_pagefold("rebuild", "--json").document
    pim, erp = (run["run"] for run in document["runs"])
    table = run_pagefold("rebuilds", "list").out.splitlines()
    assert table[0].split() == ["run", "state", "started", "lasted", "rows", "drifted", "withdrawn", "orphans"]
    assert [line.split()[:2] for line in table[1:]] == [[erp, "completed"], [pim, "completed"]]
    assert table[1].split()[-4:] == ["40", "40", "0", "0"]
    assert [run["run"] for run in run_pagefold("rebuilds", "list", "--source", "pim", "--json").documents] == [pim]
    ran = run_pagefold("rebuilds", "list", "--limit", "1")
    assert (len(ran.out.splitlines()), ran.err) == (2, "… and older runs; --limit shows more\n")
    assert run_pagefold("rebuilds", "list", "--source", "dam").err == "no rebuilds yet of dam\n"
    shown = run_pagefold("rebuilds", "show", erp, "--json").document
    assert drift_of(shown) == {f"{sku}/*/pricing/erp": "newer" for sku in SKUS}
    assert {name: shown[name] for name in ("run", "counts", "samples")} == {
        name: document["runs"][1][name] for name in ("run", "counts", "samples")
    }
    assert "  snapshot    complete\n" in run_pagefold("rebuilds", "show", erp).out


@on_sqlite
def test_a_sample_has_both_values(shop: Path) -> None:
    """In JSON, samples are objects with the values of the log and of the snapshot; refusals are objects, too."""
    say(shop, *prices())
    export(shop, *prices(SKUS[:39]), event(SKUS[39], 5, "9.99"), event("X", 1, 1.5))
    [run] = run_pagefold("rebuild", "--source", "erp", "--json").document["runs"]
    changes = [{"path": "amount", "log": "39.00", "snapshot": "9.99"}]
    assert run["samples"] == [{"stream": f"{SKUS[39]}/*/pricing/erp", "drift": "changed", "changes": changes}]
    [refusal] = run["refusals"]
    assert (refusal["row"], refusal["path"], "149.90" in refusal["reason"]) == (41, "payload.amount", True)


# --- the pages ------------------------------------------------------------------------------------


def damage(place: Path) -> None:
    """Changes one section behind the log's back, and removes another."""
    [file] = place.parent.glob("**/pages.db")
    intruder = Intruder(f"sqlite:///{file.parent}")
    section = intruder.sections()["SKU-001", "web-de", "pricing"]
    intruder.put([section._replace(body=b'{"amount":"0.01","currency":"EUR"}')])
    intruder.remove([("SKU-002", "web-at", "pricing")])


@on_sqlite
def test_damage_is_found_and_repaired(shop: Path) -> None:
    """`verify` finds sections that differ from the log and changes nothing; `rebuild --from log` repairs them."""
    say(shop, *prices(), *(product(sku) for sku in SKUS))
    assert run_pagefold("verify").code == 0
    damage(shop)
    ran = run_pagefold("verify", "--json")
    assert ran.code == 1
    assert {name: ran.document[name] for name in ("sections", "changed", "behind", "drift")} == {
        "sections": 240,
        "changed": 2,
        "behind": 0,
        "drift": 200 / 240,
    }
    differs, lost = ran.document["differences"]
    assert (differs["sku"], differs["kind"]) == (SKUS[1], "differs")
    assert differs["changes"] == [{"path": "body.amount", "before": "0.01", "after": "1.00"}]
    assert (lost["sku"], lost["channel"], lost["kind"]) == (SKUS[2], "web-at", "lost")
    for looking in (("rebuild", "--from", "log", "--dry-run"), ("rebuild", "--domain", "pricing", "--dry-run")):
        assert run_pagefold(*looking).code == 1
    assert amount(SKUS[1]) == "0.01"
    ran = run_pagefold("rebuild", "--from", "log", "--json")
    assert (ran.code, ran.document["runs"], ran.document["pages"]["changed"]) == (0, [], 2)
    assert [each["sku"] for each in ran.document["pages"]["drift"]] == SKUS[1:3]
    assert amount(SKUS[1]) == "1.00"
    assert run_pagefold("verify").code == 0


@on_sqlite
def test_the_report_of_damage(shop: Path) -> None:
    """It names the section, how it differs from the log, and its fields; above --max-drift the exit code is 1."""
    say(shop, *prices())
    damage(shop)
    for arguments, code in ((("--max-drift", "1.7"), 0), (("--max-drift", "1.6"), 1), (("--domain", "catalog"), 0)):
        assert run_pagefold("verify", *arguments).code == code
    ran = run_pagefold("verify", "--sample", "1000")
    first, *rest = ran.out.splitlines()
    assert re.fullmatch(r"120 sections in \d+ ms: 2 drifted, 1.67 %", first)
    assert rest[:2] == ["  SKU-001  web-de  pricing  differs from the log", '    ~ body.amount: "0.01" → "1.00"']
    assert rest[2] == "  SKU-002  web-at  pricing  is lost"
    assert ran.err == "`pagefold rebuild --from log` repairs them\n"
    export(shop, *prices())
    ran = run_pagefold("rebuild", "--source", "erp")
    assert (ran.code, amount(SKUS[1])) == (0, "1.00")
    assert "2 had drifted, folded again" in ran.out


@on_sqlite
def test_unfolded_events_are_no_drift(shop: Path) -> None:
    """They are counted separately."""
    assert run_pagefold("ingest", lines_file(shop / "events.ndjson", *prices())).code == 0
    ran = run_pagefold("verify")
    assert ran.code == 0
    assert "120 wait for their consumer" in ran.out


def test_less_than_a_hundredth_of_a_percent_is_shown() -> None:
    """A small share is never shown as 0."""
    assert [percent(number) for number in (0.0, 0.0001, 0.5, 12.0, 100.0)] == [
        "0 %",
        "less than 0.01 %",
        "0.5 %",
        "12 %",
        "100 %",
    ]


def test_a_long_list_is_kept_in_a_file() -> None:
    """It is one array, whatever its length; cleared, it is empty."""
    with JSONList() as found:
        assert b"".join(found.pieces()) == b"[]"
        for number in range(300_000):
            found.add(msgspec.json.encode({"stream": f"SKU-{number}"}))
        assert len(orjson.loads(b"".join(found.pieces()))) == 300_000
        found.clear()
        found.add(b"1")
        assert b"".join(found.pieces()) == b"[1]"
