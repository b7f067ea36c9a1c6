"""Deliveries that have all of a group, and deletions of a group by its id: on both stores, in any order."""

import json
from collections.abc import Mapping, Sequence
from itertools import count

import anyio
import pytest
from anyio.to_thread import run_sync
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, Shop
from pagefold.engine.dead_letters.webhook_retrier import Outcome, Request
from pagefold.engine.events import Reference, referenced
from pagefold.engine.intake import references
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from tests.dead_letters.test_waiting_letters import told
from tests.support.small_shop import configured, document, event, everything, pages_of, say

PRODUCT = "shop:product"
numbers = count(1)
TOPIC = "@header.x-shop-topic"


def of_groups(url: str, *, tie: str = "keep", **limits: object) -> Config:
    """The small shop, whose `pim` sends products with all variants and their prices, and deletions of an id."""
    contract = {
        "versions": "moment",
        "sourceVersion": "$.updated_at",
        "tie": tie,
        "catalog": [
            {
                "each": "variants",
                "only": {TOPIC: ["update"]},
                "whole_of": {"kind": PRODUCT, "id": "$.id"},
                "sku": "sku",
                "attributes": {"name": "$.title"},
                "parent": "$.handle",
                "references": {PRODUCT: "$.id"},
            },
            {
                "only": {TOPIC: ["delete"]},
                "sku": {"from": "id", "via": PRODUCT},
                "sourceVersion": "@header.x-shop-at",
                "occurredAt": "@header.x-shop-at",
                "withdraw": {TOPIC: ["delete"]},
            },
        ],
        "pricing": {
            "each": "variants",
            "only": {TOPIC: ["update"]},
            "whole_of": {"kind": PRODUCT, "id": "$.id"},
            "sku": "sku",
            "currency": {"constant": "EUR"},
            "amount": {"from": "price", "default": "1.00"},
        },
    }
    sources = document()["sources"]
    sources["pim"] = {
        "domains": ["catalog", "pricing"],
        "webhook": {"secret_variables": ["SECRET"]},
        "contract": contract,
    }
    return configured(url, sources=sources, references={"groups": [PRODUCT], **limits})


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a worker, there is nothing to wait for."""
    monkeypatch.setattr(references, "FOLD_SECONDS", 0.0)


@pytest.fixture
def config(store_url: str) -> Config:
    """With groups."""
    return of_groups(store_url)


def at(version: int) -> str:
    """The moment of a version."""
    return f"2026-01-01T00:{version:02}:00Z"


def update(version: int, *skus: str, product: int = 99) -> Mapping[str, object]:
    """A product with all of its variants."""
    variants = [{"sku": sku} for sku in skus]
    return {"id": product, "handle": "nano", "title": f"v{version}", "updated_at": at(version), "variants": variants}


async def send(shop: Shop, message: Mapping[str, object], topic: str = "update", moment: str = "") -> list[Outcome]:
    """Sends a webhook."""
    reader = shop.webhooks.reader("webhook", "pim")
    assert reader is not None
    kept = {"x-shop-topic": topic} | ({"x-shop-at": moment} if moment else {})
    headers = [(name.encode(), value.encode()) for name, value in kept.items()]
    body, identifier = json.dumps(message).encode(), f"msg_{next(numbers)}"
    request = Request("webhook", "pim", body, now(), headers, kept, identifier)
    parts = await shop.webhooks.take(request, reader, run_sync, shop.append_atomically)
    return [outcome for part in parts for outcome in part]


async def delete(shop: Shop, version: int, product: int = 99) -> list[Outcome]:
    """Sends the deletion of a product: its id only."""
    return await send(shop, {"id": product}, "delete", at(version))


async def live(shop: Shop) -> list[str]:
    """The SKUs of live pages, once everything is folded and taken."""
    await take(shop)
    return sorted({sku for (sku, _), page in (await pages_of(shop)).items() if page and b'"status":"live"' in page})


async def take(shop: Shop) -> None:
    """Folds, and takes what waits."""
    await shop.catch_up()
    await shop.waiting.take_all()
    await shop.catch_up()


async def test_a_delivery_withdraws_the_siblings_that_it_lacks(shop: Shop) -> None:
    """At its own version and moment, in each domain that has a table for it; what is there again comes back."""
    await send(shop, update(1, "PINK", "GREEN"))
    assert await live(shop) == ["GREEN", "PINK"]
    await send(shop, update(2, "PINK"))
    assert await live(shop) == ["PINK"]
    heads = {each.originator_id: each for each in sorted(await everything(shop.store))}
    for domain in ("catalog", "pricing"):
        green, pink = (heads[f"{sku}/*/{domain}/pim"] for sku in ("GREEN", "PINK"))
        assert green.originator_version == pink.originator_version
        assert json.loads(green.state)["payload"] is None
        assert json.loads(green.state)["occurredAt"] == json.loads(pink.state)["occurredAt"]
    await send(shop, update(3, "PINK", "GREEN"))
    assert await live(shop) == ["GREEN", "PINK"]


async def test_a_delivery_within_milliseconds_waits_for_the_table(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The consumer has not folded the first one when the second comes; it has when this is answered."""
    monkeypatch.setattr(references, "FOLD_SECONDS", 30.0)
    async with shop.working():
        await send(shop, update(1, "PINK", "GREEN"))
        await send(shop, update(2, "PINK"))
    assert await live(shop) == ["PINK"]
    assert await shop.store.dead_letters.count() == 0


async def test_without_a_worker_a_delivery_waits_in_dead_letters(shop: Shop) -> None:
    """Its own statements are in the log already; what it lacks is withdrawn once the log is folded."""
    await send(shop, update(1, "PINK", "GREEN"))
    assert told(await send(shop, update(2, "PINK")))[-1] == "waits"
    [first, second] = await shop.store.dead_letters.oldest(DeadLetterFilter("waiting"))
    assert first.error == second.error == f"waits until what was said of {PRODUCT} 99 before is folded"
    await take(shop)
    assert await live(shop) == ["PINK"]
    assert await shop.store.dead_letters.count() == 0


async def test_an_empty_list_is_a_group_without_members_and_no_list_is_none(shop: Shop) -> None:
    """A message without the list says nothing of the group."""
    await send(shop, update(1, "PINK", "GREEN"))
    await take(shop)
    await send(shop, {name: value for name, value in update(2).items() if name != "variants"})
    assert await live(shop) == ["GREEN", "PINK"]
    await send(shop, update(3))
    assert await live(shop) == []


async def test_other_groups_and_other_sources_are_left_alone(shop: Shop) -> None:
    """A sibling of another source, or in another product, is not withdrawn; a variant may move to another product."""
    await say(shop, event("catalog", {"references": {PRODUCT: 99}}, sku="OTHER", source="pim2"))
    await send(shop, update(1, "PINK", "GREEN"))
    await send(shop, update(1, "HAT", product=7))
    await take(shop)
    await send(shop, update(2, "HAT", "GREEN", product=7))
    await take(shop)
    await send(shop, update(3, "PINK"))
    assert await live(shop) == ["GREEN", "HAT", "OTHER", "PINK"]


async def test_a_deletion_withdraws_all_of_a_group(shop: Shop) -> None:
    """It has only the id; sent again, it does nothing."""
    await send(shop, update(1, "PINK", "GREEN"))
    await send(shop, update(1, "HAT", product=7))
    await take(shop)
    assert told(await delete(shop, 2)) == ["appended"] * 2
    assert await live(shop) == ["HAT"]
    assert told(await delete(shop, 2)) == []
    assert await shop.store.dead_letters.count() == 0


async def test_a_deletion_that_comes_first_waits_for_the_group(shop: Shop) -> None:
    """And is newer than what comes late."""
    await take(shop)
    assert told(await delete(shop, 2)) == ["waits"]
    await send(shop, update(1, "PINK", "GREEN"))
    await take(shop)
    assert await live(shop) == []
    assert await shop.store.dead_letters.count() == 0
    await send(shop, update(3, "PINK"))
    assert await live(shop) == ["PINK"]


async def test_a_delivery_with_a_fault_withdraws_nothing_until_it_is_taken(shop: Shop) -> None:
    """What it lacks may be what could not be read. A person retries it."""
    await send(shop, update(1, "PINK", "GREEN"))
    await take(shop)
    faulty = {**update(2, "PINK"), "variants": [{"sku": "PINK"}, {"sku": "GREEN", "price": "many"}]}
    assert "kept" in told(await send(shop, faulty))
    assert await live(shop) == ["GREEN", "PINK"]


async def test_a_delivery_that_would_withdraw_many_needs_a_person(store_url: str) -> None:
    """Above a number of SKUs, it is kept, until somebody retries it."""
    config = of_groups(store_url, max_withdrawn=2)
    async with pagefold.open(config) as shop:
        await send(shop, update(1, "A", "B", "C"))
        await take(shop)
        assert told(await delete(shop, 2)) == ["kept"]
        [letter] = await shop.store.dead_letters.oldest()
        assert f"{PRODUCT} 99: this would withdraw 3 SKUs" in letter.error
        assert await shop.dead_letters.retry(letter) == "still dead"
        assert await live(shop) == ["A", "B", "C"]
        assert await shop.dead_letters.retry(letter, by="ada") == "resolved"
        assert await live(shop) == []


async def test_a_statement_about_a_whole_group_is_a_fault(shop: Shop) -> None:
    """Only a withdrawal can be of all of it."""
    await send(shop, update(1, "PINK"))
    await take(shop)
    stated = referenced(event("catalog", {}), Reference(PRODUCT, "99"))
    [found] = await shop.references.resolve([stated])
    assert isinstance(found, RejectedPart)
    assert str(found.rejection) == f"{PRODUCT} 99 is a group, not a SKU: only a withdrawal can be of all of it"


async def test_two_states_of_one_moment(store_url: str) -> None:
    """With `replace`, the later one counts, of the whole group, too."""
    async with pagefold.open(of_groups(store_url, tie="replace")) as shop:
        await send(shop, update(1, "PINK", "GREEN"))
        await take(shop)
        await send(shop, update(1, "PINK"))
        assert await live(shop) == ["PINK"]


async def test_deliveries_at_the_same_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is settled last: the newest counts, also beside a worker that folds, and takes what waits."""
    monkeypatch.setattr(references, "FOLD_SECONDS", 0.02)
    skus = [f"V{number}" for number in range(6)]
    said = {version: [sku for number, sku in enumerate(skus) if (version * 7 + number) % 3] for version in range(1, 13)}
    async with shop.working(), anyio.create_task_group() as group:
        for version in (5, 2, 9, 12, 1, 3, 11, 4, 8, 6, 10, 7):
            group.start_soon(send, shop, update(version, *said[version]))
    for _ in range(3):
        await take(shop)
    assert await live(shop) == said[12]
    assert await shop.store.dead_letters.count() == 0


DELIVERIES = [
    update(1, "PINK", "GREEN"),
    update(2, "PINK", "GREEN", "BLUE"),
    update(3, "BLUE"),
    update(4, "BLUE", "RED"),
]


@settings(max_examples=20, phases=[Phase.generate])
@given(
    order=st.permutations([*DELIVERIES, DELIVERIES[0], None]),
    folds=st.sets(st.integers(0, 5)),
    deleted_at=st.sampled_from([2, 5]),
)
async def test_the_newest_delivery_counts_in_every_order(
    tmp_path_factory: pytest.TempPathFactory,
    order: Sequence[Mapping[str, object] | None],
    folds: set[int],
    deleted_at: int,
) -> None:
    """However deliveries and a deletion (None) arrive, and whatever is folded between them."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shop')}"
    async with pagefold.open(of_groups(url)) as shop:
        for place, message in enumerate(order):
            if message is None:
                await send(shop, {"id": 99}, "delete", f"2026-01-01T00:{deleted_at:02}:30Z")
            else:
                await send(shop, message)
            if place in folds:
                await take(shop)
        await take(shop)
        assert await live(shop) == ([] if deleted_at == 5 else ["BLUE", "RED"])
        assert await shop.store.dead_letters.count() == 0
