"""The brake: removals that need confirmation, by orphans and by corrections."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import RunNotResumable
from pagefold.engine.rebuild import row_order, spill
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.rebuild.source_rebuild import SourceRebuild
from pagefold.engine.snapshots import line_rows
from tests.support.rebuild_fixtures import Witness, counts_of, export, rebuild, resume, with_snapshots
from tests.support.small_shop import append, catalog, event, everything, price, say, section

SKUS = [f"SKU-{number:03}" for number in range(40)]
MANY = [f"SKU-{number:03}" for number in range(200)]


def products(skus: Sequence[str], **attributes: object) -> list[DomainEvent]:
    """A product of every SKU, with a name and these attributes."""
    return [event("catalog", {"attributes": {"name": sku, **attributes}}, sku=sku, version=5) for sku in skus]


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, where the PIM and the ERP have snapshots."""
    return with_snapshots(store_url, tmp_path, "pim", "erp")


async def test_a_small_shop_is_not_held_for_one(shop: Shop, config: Config) -> None:
    """Of twenty products, five may be withdrawn, but not six."""
    await say(shop, *(price("9.90", version=5, sku=sku) for sku in SKUS[:20]))
    for left, state in ((SKUS[5:20], "completed"), (SKUS[11:20], "held")):
        export(config, "erp", *(price("9.90", version=5, sku=sku) for sku in left))
        assert (await rebuild(shop, "erp")).state == state


async def test_corrections_that_empty_everything_are_held(shop: Shop, config: Config) -> None:
    """A mapping that finds nothing changes no page: the removals are reported, and other drift is repaired."""
    await say(shop, *products(SKUS, brand="Acme"))
    rows = [event("catalog", {}, sku=sku, version=5) for sku in SKUS[:20]]
    rows += [event("catalog", {}, sku=sku, version=6) for sku in SKUS[20:]]
    rows += [catalog("Bag", sku="NEW-1")]
    export(config, "pim", *rows)
    before = [each for each in await everything(shop.store) if each.topic == "catalog"]
    dry = await rebuild(shop, "pim", RebuildRequest(dry_run=True))
    report = await rebuild(shop, "pim")
    for each in (dry, report):
        assert counts_of(each) == {"rows": 41, "missing": 1, "changed": 20, "newer": 20}
        assert (each.state, each.held_limit, each.live) == ("held", 5, 40)
        assert [loss[:2] for loss in losses_of(each)] == [
            ["", 40],
            ["attributes", 40],
            ["attributes.brand", 40],
            ["attributes.name", 40],
        ]
        assert losses_of(each)[2][2][0][1] == "Acme"
    after = [each for each in await everything(shop.store) if each.topic == "catalog"]
    assert [each.originator_id for each in after[len(before) :]] == ["NEW-1/*/catalog/pim"]
    assert (await section(shop, "catalog", sku=SKUS[0]))["attributes"] == {"brand": "Acme", "name": SKUS[0]}

    assert (await resume(shop, report.run)).state == "held"
    done = await resume(shop, report.run, confirmed=True)
    assert (done.state, done.losses) == ("completed", [])
    assert counts_of(done) == {"rows": 41, "missing": 1, "changed": 20, "newer": 20}
    assert (await section(shop, "catalog", sku=SKUS[0]))["attributes"] == {}
    assert (await section(shop, "catalog", sku=SKUS[39]))["attributes"] == {}


def losses_of(report: RunReport) -> list[Any]:
    """The removals that it reports."""
    return report.losses


@pytest.mark.parametrize(("number", "state"), [(5, "completed"), (6, "held")])
@pytest.mark.parametrize("value", ["absent", None, "", [], {}, {"unit": None}])
async def test_an_attribute_that_many_lose_is_held(
    shop: Shop, config: Config, number: int, state: str, value: object
) -> None:
    """Absent or empty, at the same version or a newer one: above the limit no removal is written, below it all are."""
    await say(shop, *products(SKUS, weight={"unit": "g"}, colour="red"))
    attributes = {"colour": "blue"} | ({} if value == "absent" else {"weight": value})
    rows = [
        event("catalog", {"attributes": {"name": sku, **attributes}}, sku=sku, version=5 + index % 2)
        for index, sku in enumerate(SKUS[:number])
    ]
    rows += [
        event("catalog", {"attributes": {"name": sku, "weight": 0, "colour": False}}, sku=sku, version=6)
        for sku in SKUS[number:]
    ]
    export(config, "pim", *rows)
    report = await rebuild(shop, "pim")
    assert report.state == state
    body = await section(shop, "catalog", sku=SKUS[0])
    assert body["attributes"]["colour"] == ("red" if state == "held" else "blue")
    assert (await section(shop, "catalog", sku=SKUS[39]))["attributes"] == {
        "name": SKUS[39],
        "weight": 0,
        "colour": False,
    }
    if state == "held":
        assert {loss[0] for loss in losses_of(report)} == {"attributes.weight", "attributes.weight.unit"}
    assert (await resume(shop, report.run, confirmed=True)).state == "completed"
    assert (await section(shop, "catalog", sku=SKUS[0]))["attributes"]["colour"] == "blue"


async def test_a_product_that_is_disabled_is_taken_away(shop: Shop, config: Config) -> None:
    """`enabled: false` counts as a removal, whatever else the payload has; `enabled: true` does not."""
    await say(shop, *products(SKUS[:20]), *(event("catalog", {"enabled": False}, sku=sku) for sku in SKUS[20:]))
    rows = [
        event("catalog", {"attributes": {"name": sku}, "enabled": sku >= SKUS[20]}, sku=sku, version=5) for sku in SKUS
    ]
    export(config, "pim", *rows)
    report = await rebuild(shop, "pim")
    assert (report.state, [loss[:2] for loss in losses_of(report)]) == ("held", [["", 20]])
    assert (await shop.pages.get(SKUS[0], "web-de")) is not None
    assert (await shop.pages.get(SKUS[39], "web-de")) is not None


async def test_orphans_and_what_says_nothing_any_more_count_together(shop: Shop, config: Config) -> None:
    """Three orphans and three emptied payloads exceed the limit of five: none of them is removed."""
    await say(shop, *products(SKUS))
    export(config, "pim", *(event("catalog", {}, sku=sku, version=5) for sku in SKUS[:3]), *products(SKUS[6:]))
    report = await rebuild(shop, "pim")
    assert (report.state, report.counts.orphans, [loss[:2] for loss in losses_of(report)]) == ("held", 3, [["", 3]])
    assert not report.counts.withdrawn
    done = await resume(shop, report.run, confirmed=True)
    assert (done.counts.withdrawn, done.counts.changed, done.state) == (3, 3, "completed")


async def test_other_values_are_no_loss(shop: Shop, config: Config) -> None:
    """Other amounts and omitted defaults are no removal; a missing comparison price is."""
    full, other, less = (
        {"currency": "EUR", "amount": amount, **more}
        for amount, more in (("9.90", {"compareAt": "12.00"}), ("10.80", {"compareAt": "11.00"}), ("9.90", {}))
    )
    await say(shop, *(event("pricing", full, sku=sku, version=5) for sku in SKUS))
    export(config, "erp", *(event("pricing", other, sku=sku, version=5) for sku in SKUS))
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "changed": 40}
    export(config, "erp", *(event("pricing", less, sku=sku, version=6) for sku in SKUS))
    report = await rebuild(shop, "erp")
    assert (report.state, [loss[:2] for loss in losses_of(report)]) == ("held", [["compareAt", 40]])


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "sorted"])
async def test_what_is_withheld_may_be_many_pages(
    shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """Below the limit, removals are appended after everything is compared, not before."""
    for module, name in ((line_rows, "BATCH_ROWS"), (row_order, "CHUNK_ROWS"), (spill, "BATCH_ITEMS")):
        monkeypatch.setattr(module, name, 7)
    await say(shop, *products(MANY, colour="red"))
    release, corrected = SourceRebuild._release, []

    async def watched(self: SourceRebuild) -> None:
        corrected.append(len([each for each in await everything(shop.store) if each.revision]))
        await release(self)
        corrected.append(len([each for each in await everything(shop.store) if each.revision]))

    monkeypatch.setattr(SourceRebuild, "_release", watched)
    rows = [*products(MANY[:50]), *products(MANY[50:100], colour="blue"), *products(MANY[100:], colour="red")]
    export(config, "pim", *rows[::order])
    report = await rebuild(shop, "pim", RebuildRequest(max_orphans=50))
    assert (report.state, counts_of(report)) == ("completed", {"rows": 200, "equal": 100, "changed": 100})
    assert corrected == [50, 100]
    assert counts_of(await rebuild(shop, "pim")) == {"rows": 200, "equal": 200}


@pytest.mark.parametrize("deaths", range(1, 6))
async def test_a_run_that_dies_withholds_again(
    shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    """Wherever a run is killed, withheld corrections are found again, and none is omitted."""
    await say(shop, *products(MANY, colour="red"))
    rows = [*products(MANY[:8]), *products(MANY[8:], colour="blue")]
    export(config, "pim", *rows)
    write, calls = SourceRebuild._retry, iter(range(100))

    async def die(self: SourceRebuild, work: Any) -> Any:  # noqa: ANN401  # whatever it gives
        if next(calls) == deaths:
            raise DiedError
        return await write(self, work)

    monkeypatch.setattr(SourceRebuild, "_retry", die)
    witness = Witness()
    with suppress(DiedError, BaseExceptionGroup):  # the last of them is never reached
        await rebuild(shop, "pim", witness=witness)
    monkeypatch.setattr(SourceRebuild, "_retry", write)
    done = await resume(shop, witness.run_id)
    assert (done.state, done.counts.changed, done.counts.rows) == ("completed", 200, 200)
    assert counts_of(await rebuild(shop, "pim")) == {"rows": 200, "equal": 200}


class DiedError(Exception):
    """The process is killed before its next write."""


async def test_what_is_held_needs_its_snapshot_again(shop: Shop, config: Config) -> None:
    """Withheld corrections are not stored: a resumed run needs the same snapshot to find them again."""
    await say(shop, *products(SKUS))
    export(config, "pim", *(event("catalog", {}, sku=sku, version=5) for sku in SKUS))
    report = await rebuild(shop, "pim")
    export(config, "pim", *products(SKUS))
    with pytest.raises(RunNotResumable, match="is not the one that the run began with"):
        await resume(shop, report.run, confirmed=True)
    assert counts_of(await rebuild(shop, "pim")) == {"rows": 40, "equal": 40}


async def test_what_came_in_meanwhile_counts_over_what_is_withheld(
    shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that arrives while a correction is withheld is kept, and the correction is dropped."""
    await say(shop, *products(SKUS, colour="red"))
    export(config, "pim", *products(SKUS[:3]), *products(SKUS[3:], colour="red"))
    release = SourceRebuild._release

    async def late(self: SourceRebuild) -> None:
        newer = {"attributes": {"name": "new", "colour": "green"}}
        await append(shop, event("catalog", newer, sku=SKUS[0], version=6))
        await release(self)

    monkeypatch.setattr(SourceRebuild, "_release", late)
    assert (await rebuild(shop, "pim")).state == "completed"
    assert (await section(shop, "catalog", sku=SKUS[0]))["attributes"]["colour"] == "green"
    assert (await section(shop, "catalog", sku=SKUS[2]))["attributes"] == {"name": SKUS[2]}
