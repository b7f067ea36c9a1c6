"""The screens of plans: what would change, and the decision; without JavaScript."""

from collections.abc import AsyncIterator

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.dashboard.plan_summary import all_effects
from pagefold.engine.plans.page_changes import Effect
from pagefold.engine.plans.plan import ChannelPlan, Plan
from pagefold.engine.stores.grants import Grant
from tests.support.dashboard_pages import browser_of
from tests.support.rebuild_fixtures import renamed
from tests.support.small_shop import catalog, price, say, with_channel

HOSTILE = "<script>alert(1)</script>\"'&"
SKUS = [f"SKU-{number:02}" for number in range(24)]
READER = Grant("tok_reader", frozenset(["read"]), None)


@pytest.fixture
async def held(config: Config) -> AsyncIterator[Shop]:
    """A shop whose file renames the source of prices: it is held, and its plan is kept."""
    async with pagefold.open(config) as shop:
        await say(shop, *(catalog(HOSTILE, sku=sku) for sku in SKUS), *(price("5.00", sku=sku) for sku in SKUS))
    async with pagefold.open(msgspec.structs.replace(renamed(config, "erp", "sap"), apply="safe")) as shop:
        await shop.catch_up()
        yield shop


async def plan_of(shop: Shop) -> str:
    """The address of the plan that is kept."""
    [record] = await shop.plans.newest()
    return f"/ui/plans/{record.plan}"


async def test_a_held_plan_says_what_it_takes_away(held: Shop) -> None:
    """The list leads to it; it has a sentence, numbers by channel, fields, samples and the keys of the file."""
    address = await plan_of(held)
    async with browser_of(held) as browser:
        listed = (await browser.get("/ui/plans")).text
        assert f'href="{address}"' in listed
        assert "waits for a decision" in listed
        assert "1 held" in listed
        page = (await browser.get(address)).text
        assert "It takes something from 96 live pages, and the brake is at " in page
        emptied = all_effects((await held.plans.get(address.rpartition("/")[2])).saved.plan)["emptied"]
        assert emptied > 0
        assert f"− {emptied}</b><span>lose a value</span>" in page
        assert "pricing.amount" in page
        assert "sources.sap" in page
        assert "--take-away" in page


async def test_a_number_opens_its_pages(held: Shop) -> None:
    """The SKUs behind it, each a link to the page; another channel or effect lists none."""
    address = await plan_of(held)
    async with browser_of(held) as browser:
        for effect in ("emptied", "changed"):
            page = (await browser.get(f"{address}?channel=web-de&effect={effect}")).text
            assert all(f'href="/ui/pages/web-de/{sku}"' in page for sku in SKUS)
        page = (await browser.get(f"{address}?channel=nowhere&effect=emptied")).text
        assert "in the order of SKUs" not in page


async def test_it_is_applied_with_the_number_typed(held: Shop) -> None:
    """Another number is refused, and so is none; then it counts, and the page says by whom and why."""
    address = await plan_of(held)
    async with browser_of(held) as browser:
        for fields, status in (({"expected": "95"}, 409), ({}, 422), ({"expected": "many"}, 422)):
            answer = await browser.decide(address, f"{address}:apply", {"reason": "SAP sends them", **fields})
            assert (answer.status_code, held.applied.number) == (status, 0)
        answer = await browser.decide(address, f"{address}:apply", {"reason": HOSTILE, "expected": "96"})
        assert (answer.status_code, answer.headers["location"], held.applied.number) == (303, address, 1)
        page = (await browser.get(address)).text
        assert "Configuration 1 counts from now on" in page
        assert "It was applied, and 96 pages change" in page
        assert "&lt;script&gt;" in page
        assert "<script>alert" not in page
        assert f"{address}:apply" not in page
        again = await browser.post(f"{address}:apply", data={"reason": "x", "expected": "96", "csrf": "x"})
        assert again.status_code == 403


async def test_it_is_refused_after_a_confirmation(held: Shop) -> None:
    """The confirmation has an address of its own; afterwards what counts stays."""
    address = await plan_of(held)
    async with browser_of(held) as browser:
        confirmation = f"{address}?confirm=refuse"
        assert "Refuse this plan?" in (await browser.get(confirmation)).text
        answer = await browser.decide(confirmation, f"{address}:refuse", {"reason": "the name stays"})
        assert answer.status_code == 303
        assert "It was refused, and nothing has changed" in (await browser.get(address)).text
        assert "was refused, or was never planned" in (await browser.get("/ui/plans")).text
    assert held.applied.is_held


async def test_the_file_is_planned_by_a_button(config: Config) -> None:
    """The plan is kept under the visitor's name, and says so where it takes nothing away."""
    async with pagefold.open(config) as shop:
        await say(shop, *(catalog("A", sku=sku) for sku in SKUS))
    changed = msgspec.structs.replace(with_channel(config, "web-de", requires=["catalog"]), apply="never")
    async with pagefold.open(changed) as shop:
        await shop.catch_up()
        async with browser_of(shop) as browser:
            answer = await browser.decide("/ui/plans", "/ui/plans:make", {})
            page = await browser.get(answer.headers["location"])
            assert "It takes nothing away, and 24 pages change" in page.text
            assert "+ 24" in page.text
            [record] = await shop.plans.newest()
            assert (record.by, record.taken) == ("anonymous", 0)
            action = f"{answer.headers['location']}:apply"
            done = await browser.decide(answer.headers["location"], action, {"reason": "more are ready"})
            assert (done.status_code, shop.applied.number) == (303, 1)


async def test_who_only_reads_decides_nothing(held: Shop) -> None:
    """Buttons say what is missing, and the request is refused."""
    address = await plan_of(held)
    async with browser_of(held, READER) as browser:
        page = (await browser.get(address)).text
        assert "Apply: needs operate" in page
        answer = await browser.decide(address, f"{address}:apply", {"reason": "x", "expected": "96"})
        assert (answer.status_code, held.applied.number) == (403, 0)


async def test_an_unknown_plan_is_404(held: Shop) -> None:
    """With a sentence for people."""
    async with browser_of(held) as browser:
        answer = await browser.get("/ui/plans/00000000")
        assert (answer.status_code, "no plan" in answer.text) == (404, True)


async def test_a_large_plan_is_a_small_page(held: Shop) -> None:
    """A thousand fields and 100 SKUs an effect in each of thirty channels: what is listed is bounded."""
    saved = await held.plan()
    effects: list[Effect] = ["disabled", "emptied"]
    channels = {
        f"channel-{number:02}": ChannelPlan(
            live=1_000_000,
            changed=900_000,
            taken=800_000,
            effects=dict.fromkeys(effects, 400_000),
            fields={f"catalog.attributes.field-{field}": 900_000 for field in range(1_000)},
            skus={effect: [f"SKU-{each:06}" for each in range(100)] for effect in effects},
        )
        for number in range(30)
    }
    record = await held.plans.keep(msgspec.structs.replace(saved, plan=Plan(1_000_000, channels, [])), "ada")
    async with browser_of(held) as browser:
        answer = await browser.get(f"/ui/plans/{record.plan}?channel=channel-07&effect=emptied")
        assert "It takes something from 24,000,000 live pages" in answer.text
        assert "100 of 400,000" in answer.text
        assert "and 988 more fields" in answer.text
        assert len(answer.content) < 100_000
