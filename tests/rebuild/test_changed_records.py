"""Records of a source that change between snapshots: what is counted, what is an alert, what stops a run."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pagefold import Config, Shop
from pagefold.engine.errors import SourceFailed
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.stores.field_ledger import FieldFilter
from tests.support.rebuild_fixtures import counts_of, rebuild, resume, with_snapshots
from tests.support.small_shop import everything, section

SKUS = [f"SKU-{number:03}" for number in range(40)]
VERSIONS: Mapping[str, Mapping[str, object]] = {
    "integer": {"sourceVersion": "rev"},
    "moment": {"versions": "moment", "sourceVersion": "changed"},
    "none": {"versions": "none"},
}


def contract(versions: str = "integer", **more: object) -> dict[str, Any]:
    """The contract of products with a color, by the versions that they have."""
    catalog = {"attributes": {"color": "color", "name": "name"}}
    return {"sku": "sku", **VERSIONS[versions], **more, "catalog": catalog}


def settings(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """A CSV file that a contract reads."""
    return {"file": str(folder / "pim.csv"), "contract": given}


@pytest.fixture
def given() -> dict[str, Any]:
    """The contract; a test may have another one."""
    return contract()


@pytest.fixture
def config(store_url: str, tmp_path: Path, given: dict[str, Any]) -> Config:
    """The small shop, where the PIM has a CSV file."""
    return with_snapshots(store_url, tmp_path, "pim", **settings(tmp_path, given))


def export(config: Config, version: int, *, color: str | None = "red", columns: str = "", cells: str = "") -> None:
    """Writes the snapshot at a version; without a color, the column is gone."""
    file = Path(str(config.sources["pim"].snapshot.file))  # type: ignore[union-attr]  # it has one
    header = f"sku,rev,changed,name{'' if color is None else ',color'}{columns}"
    rows = [
        f"{sku},{version},2026-01-0{version}T00:00:00Z,{sku}{'' if color is None else f',{color}'}{cells}"
        for sku in SKUS
    ]
    file.write_text("\n".join([header, *rows, ""]))
    os.utime(file, ns=(time.time_ns(), time.time_ns()))


async def alerts(shop: Shop) -> list[tuple[str, str | None]]:
    """The alerts, by field."""
    return [(each.field, each.alert) for each in await shop.store.fields.entries(FieldFilter(alerts=True))]


def lost(report: RunReport) -> list[object]:
    """The paths that would lose their values."""
    losses: list[Any] = report.losses
    return [loss[0] for loss in losses]


async def test_a_snapshot_fills_the_ledger(shop: Shop, config: Config) -> None:
    """Every field with its share; a dry run writes nothing, and the next run's new column is an alert."""
    export(config, 1, columns=",note", cells=",x")
    assert (await rebuild(shop, "pim", RebuildRequest(dry_run=True))).state == "completed"
    assert await shop.store.fields.entries() == []
    assert (await rebuild(shop, "pim")).state == "completed"
    found = {each.field: each for each in await shop.store.fields.entries()}
    assert {name: (each.records, each.all_records, each.mapped) for name, each in found.items()} == {
        "sku": (40, 40, True),
        "rev": (40, 40, True),
        "changed": (40, 40, False),
        "name": (40, 40, True),
        "color": (40, 40, True),
        "note": (40, 40, False),
    }
    assert {(each.source, each.contract) for each in found.values()} == {("pim", "pim")}
    export(config, 2, columns=",size", cells=",XL")
    assert (await rebuild(shop, "pim")).state == "completed"
    assert await alerts(shop) == [("note", "vanished"), ("size", "new")]


@pytest.mark.parametrize("given", [contract(versions) for versions in VERSIONS], ids=VERSIONS)
async def test_an_attribute_that_becomes_empty_is_held(shop: Shop, config: Config) -> None:
    """Whatever the versions are, newer or none at all: a run stops before the pages lose it, and it is an alert."""
    export(config, 1)
    await rebuild(shop, "pim")
    export(config, 2, color="")
    report = await rebuild(shop, "pim")
    assert (report.state, lost(report)) == ("held", ["attributes.color"])
    assert (await section(shop, "catalog", sku=SKUS[7]))["attributes"]["color"] == "red"
    assert await alerts(shop) == [("color", "vanished")]
    assert (await resume(shop, report.run, confirmed=True)).state == "completed"
    assert "color" not in (await section(shop, "catalog", sku=SKUS[7]))["attributes"]


@pytest.mark.parametrize("given", [contract(versions, blanks="withdraw") for versions in VERSIONS], ids=VERSIONS)
async def test_blanks_that_withdraw_are_held(shop: Shop, config: Config) -> None:
    """A column that is suddenly empty does not take every page away."""
    export(config, 1)
    await rebuild(shop, "pim")
    export(config, 2, color="")
    report = await rebuild(shop, "pim")
    assert report.state == "held"
    assert "" in lost(report)
    assert (await section(shop, "catalog", sku=SKUS[7]))["attributes"]["color"] == "red"


async def test_a_column_that_is_gone_stops_a_run(shop: Shop, config: Config) -> None:
    """Before anything is changed; the error names it, and what the file has."""
    export(config, 1)
    await rebuild(shop, "pim")
    before = await everything(shop.store)
    export(config, 2, color=None, columns=",colour", cells=",blue")
    with pytest.raises(SourceFailed, match=r"no record has `color`.*did you mean `colour`"):
        await rebuild(shop, "pim")
    assert [each for each in await everything(shop.store) if each.topic == "catalog"] == [
        each for each in before if each.topic == "catalog"
    ]


@pytest.mark.parametrize("given", [contract(unmapped="fail", ignore=["changed"])])
async def test_an_unmapped_column_is_a_finding(shop: Shop, config: Config) -> None:
    """With `fail` the rows are refused, named, and keep the newest good version; nothing is withdrawn."""
    export(config, 1)
    assert counts_of(await rebuild(shop, "pim")) == {"rows": 40, "missing": 40}
    export(config, 2, color="blue", columns=",size", cells=",XL")
    report = await rebuild(shop, "pim")
    assert counts_of(report) == {"rows": 40, "refused": 40}
    assert (await section(shop, "catalog", sku=SKUS[7]))["attributes"]["color"] == "red"
    assert await alerts(shop) == [("size", "new")]
