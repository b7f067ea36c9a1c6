"""Plans that are kept in the store until a person decides, on both stores."""

from pathlib import Path

import anyio
import msgspec
import pytest

import pagefold
from pagefold import Config, CountChanged, PlanDecided, Rejected, Shop, UnknownPlan
from pagefold.engine.plans.plan import MAX_LISTED_SKUS, ChannelPlan
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.stores.plan_records import KEPT_PLANS, PlanRecord
from pagefold.engine.stores.store import Store
from tests.support.command_line import run_pagefold, settle
from tests.support.rebuild_fixtures import renamed, without_channel
from tests.support.small_shop import catalog, price, say

SKUS = [f"SKU-{number:02}" for number in range(24)]
BY = "ada"


async def fill(shop: Shop) -> None:
    """Products with a price, folded."""
    await say(shop, *(catalog(sku, sku=sku) for sku in SKUS), *(price("5.00", sku=sku) for sku in SKUS))


def a_record(number: int) -> PlanRecord:
    """A plan, made in this minute of an hour."""
    at = f"2026-11-30T10:{number:02}:00.000000Z"
    return PlanRecord(f"{number:08x}", at, "a-digest", 3, 40, number, 1, BY)


async def test_a_store_keeps_the_newest(store: Store) -> None:
    """With what they found; the rest is forgotten. One that is kept twice is one."""
    for number in [*range(KEPT_PLANS + 5), KEPT_PLANS + 4]:
        await store.plans.keep(a_record(number), b"%d" % number)
    newest = await store.plans.newest(100)
    assert newest == [a_record(number) for number in reversed(range(5, KEPT_PLANS + 5))]
    assert await store.plans.get(newest[0].plan) == (newest[0], b"24")
    assert await store.plans.get(a_record(0).plan) is None
    assert await store.plans.newest(2) == newest[:2]


async def test_a_plan_is_decided_once(store: Store) -> None:
    """The first decision stays; a plan that is not kept cannot be decided."""
    await store.plans.keep(a_record(1), b"{}")
    assert await store.plans.decide(a_record(1).plan, "refused", BY, "too much", "2026-11-30T11:00:00.000000Z")
    assert not await store.plans.decide(a_record(1).plan, "applied", "bob", "why not", "2026-11-30T12:00:00.000000Z")
    assert not await store.plans.decide("ffffffff", "applied", BY, "it is", "2026-11-30T12:00:00.000000Z")
    [found] = await store.plans.newest(1)
    assert (found.state, found.decided_by, found.reason) == ("refused", BY, "too much")


async def test_what_is_held_is_kept_until_it_is_refused(config: Config) -> None:
    """A start that holds its file keeps the plan; when it is refused, the next start plans no more, and holds."""
    async with pagefold.open(config) as shop:
        await fill(shop)
    changed = msgspec.structs.replace(renamed(config, "erp", "sap"), apply="safe")
    async with pagefold.open(changed) as shop:
        await shop.catch_up()
        assert shop.applied.is_held
        [plan] = await shop.plans.newest()
        assert (plan.taken, plan.by, plan.state, plan.number) == (4 * len(SKUS), "pagefold", "open", 0)
        assert (await shop.plans.get(plan.plan)).saved.plan.channels["web-de"].skus["emptied"] == SKUS
        await shop.plans.refuse(plan.plan, by=BY, reason="the name stays")
        with pytest.raises(PlanDecided, match="is refused already"):
            await shop.plans.refuse(plan.plan, by=BY, reason="again")
    async with pagefold.open(changed) as shop:
        await shop.catch_up()
        assert shop.applied.is_held
        assert [each.state for each in await shop.plans.newest()] == ["refused"]


async def test_an_applied_plan_says_so(config: Config) -> None:
    """By whom and why. Another number than expected applies nothing."""
    async with pagefold.open(config) as shop:
        await fill(shop)
        saved = await shop.plan(renamed(config, "erp", "sap"))
        kept = await shop.plans.keep(saved, BY)
        with pytest.raises(CountChanged):
            await shop.apply(saved, by=BY, reason="a test", expected=kept.taken - 1)
        assert shop.applied.number == 0
        again = (await shop.plans.get(kept.plan)).saved
        assert msgspec.json.encode(again) == msgspec.json.encode(saved)
        await shop.apply(again, by="bob", reason="a test", expected=kept.taken)
        [record] = await shop.plans.newest()
        assert (record.state, record.decided_by, record.reason) == ("applied", "bob", "a test")
        assert (await shop.plans.of_settings(kept.digest, 0)) == record
        assert await shop.plans.of_settings(kept.digest, 1) is None


async def test_what_is_no_plan_or_no_reason_is_refused(config: Config) -> None:
    """With errors of their own."""
    async with pagefold.open(config) as shop:
        await fill(shop)
        with pytest.raises(UnknownPlan, match="pagefold plans list"):
            await shop.plans.get("00000000")
        with pytest.raises(UnknownPlan):
            await shop.plans.refuse("00000000", by=BY, reason="a test")
        with pytest.raises(Rejected, match="reason"):
            await shop.plans.refuse("00000000", by=BY, reason=" ")
        with pytest.raises(Rejected, match="operator"):
            await shop.plans.keep(await shop.plan(without_channel(config, "web-us")), " ")


@pytest.mark.parametrize("parts", [1, 7, 40])
def test_the_listed_skus_do_not_depend_on_the_parts(parts: int) -> None:
    """However many processes planned, a number opens the same SKUs: the first in order."""
    skus = [f"{number:04}" for number in range(3 * MAX_LISTED_SKUS)]
    whole = ChannelPlan()
    for part in range(parts):
        some = ChannelPlan(changed=1, skus={"emptied": skus[part::parts][:MAX_LISTED_SKUS]})
        whole.merge(some)
    assert whole.skus == {"emptied": skus[:MAX_LISTED_SKUS]}


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, whose store has the products, and another file that renames a source."""
    folder = settle(tmp_path, store_url, monkeypatch)

    async def fill_it() -> None:
        async with pagefold.open(Config.load(folder / "pagefold.toml")) as shop:
            await fill(shop)

    anyio.run(fill_it)
    text = (folder / "pagefold.toml").read_text()
    (folder / "new.toml").write_text(text.replace("[sources.erp]", "[sources.sap]"))
    return folder


def test_the_commands(place: Path) -> None:
    """A plan is kept, listed, shown and applied by its id, if it takes away the expected number; or refused."""
    assert run_pagefold("plans", "list").err.startswith("no plans are kept")
    new = str(place / "new.toml")
    ran = run_pagefold("plan", "--config", new, "--keep", "--json")
    plan, taken = ran.document["id"], sum(each["taken"] for each in ran.document["plan"]["channels"].values())
    assert (ran.code, taken > len(SKUS)) == (1, True)
    listed = run_pagefold("plans", "list", "--json").document
    assert (listed["id"], listed["taken"], listed["state"]) == (plan, taken, "open")
    shown = run_pagefold("plans", "show", plan)
    assert f"`pagefold apply --plan {plan} --take-away {taken} --reason …` applies it" in shown.err
    assert "24 products, " in shown.out
    wrong = run_pagefold("apply", "--plan", plan, "--take-away", "3", "--reason", "a test")
    assert (wrong.code, wrong.err) == (1, f"pagefold: expected 3, but it is {taken} by now: look again\n")
    assert run_pagefold("apply", "--plan", plan, "--take-away", str(taken), "--reason", "a test", "--as", BY).code == 0
    assert f"applied by {BY} at " in run_pagefold("plans", "show", plan).err
    again = run_pagefold("plans", "refuse", plan, "--reason", "a test")
    assert (again.code, again.err) == (1, f"pagefold: the plan {plan} is applied already\n")
    assert run_pagefold("plans", "show", "00000000").code == 1


def test_a_kept_plan_is_read_as_it_was_saved(place: Path) -> None:
    """`--keep` and `--save` keep the same; `plans refuse` ends it."""
    saved, new = place / "plan.json", str(place / "new.toml")
    plan = run_pagefold("plan", "--config", new, "--keep", "--save", str(saved), "--json").document["id"]
    shown = run_pagefold("plans", "show", plan, "--json").document
    assert shown | msgspec.to_builtins(SavedPlan.load(saved)) == shown
    ran = run_pagefold("plans", "refuse", plan, "--reason", "the name stays", "--as", BY)
    assert (ran.code, ran.err) == (0, f"the plan {plan} is refused\n")
    assert run_pagefold("plans", "list").out.splitlines()[1].split()[1] == "refused"


def test_a_file_that_takes_nothing_away_is_applied_by_a_number(place: Path) -> None:
    """Without a plan, `--take-away` is a condition for the file: exactly that many."""
    file = place / "new.toml"
    file.write_text((place / "pagefold.toml").read_text().replace('locale = "en-US"', 'locale = "en-GB"'))
    options = ("apply", "--config", str(file), "--reason", "a test")
    assert run_pagefold(*options, "--take-away", "1").code == 1
    assert run_pagefold(*options, "--take-away", "0").code == 0
